-- Stanzas that sessions receive and send, and the errors among those that they send.
--
-- What is sent passes a filter, one function that all sessions share: a session is initialised twice if it is one of another
-- server, and gets the filters of a new one when it is resumed; a function that is there already isn't added. It is the last of
-- all filters, so that whatever another one drops was not sent. Sessions of external components have no filters, nor has what
-- Prosody 0.12 has kept for another server. What is received is counted where it is handled, in processing.lua: a filter for
-- that would cost as much again. The filter is there even if no stanzas are counted, as logins need it.

local families = require "metre.operator.families";
local session_types = require "metre.operator.session_types";
local type = type;

local first, last = math.huge, -math.huge;

local xmlns_errors = "urn:ietf:params:xml:ns:xmpp-stanzas";
local condition_in_text = "<([%l-]+) xmlns=[\"']" .. xmlns_errors:gsub("%-", "%%-") .. "[\"']";

-- Errors that are likely begin at zero, so that the first one is an increase.
local likely = {
	message = "bad-request forbidden gone internal-server-error item-not-found jid-malformed not-acceptable not-allowed "
		.. "policy-violation recipient-unavailable remote-server-not-found remote-server-timeout resource-constraint "
		.. "service-unavailable";
	presence = "conflict forbidden gone item-not-found jid-malformed not-acceptable not-allowed not-authorized "
		.. "registration-required remote-server-not-found remote-server-timeout service-unavailable";
	iq = "bad-request conflict feature-not-implemented forbidden internal-server-error item-not-found jid-malformed "
		.. "not-acceptable not-allowed not-authorized policy-violation recipient-unavailable remote-server-not-found "
		.. "remote-server-timeout resource-constraint service-unavailable undefined-condition unexpected-request";
};

-- Counts are kept here and go to the metrics once a second and when somebody looks: that costs a quarter for each stanza.
-- Returns tables by session and kind.
local function new_counts(pack, metrics)
	local counts, all = {}, {};
	for session, of_session in pairs(metrics) do
		counts[session] = {};
		for kind, metric in pairs(of_session) do
			local count = { metric = metric; number = 0 };
			counts[session][kind] = count;
			table.insert(all, count);
		end
	end
	local function flush()
		for _, count in ipairs(all) do
			local number = count.number;
			if number > 0 then
				count.number = 0;
				count.metric:add(number);
			end
		end
		return 1;
	end
	pack:on_collection("stanzas", flush);
	pack:later("stanzas", 1, flush);
	return counts;
end

-- The condition of an error, or nil.
local function condition_of(stanza)
	local children = stanza.tags or {};
	for i = 1, #children do
		if children[i].name == "error" then
			local parts = children[i].tags;
			for j = 1, #parts do
				local part = parts[j];
				if part.attr.xmlns == xmlns_errors and part.name ~= "text" then
					return part.name;
				end
			end
			return nil;
		end
	end
	return nil;
end

-- Counts errors by kind and condition.
local function count_errors(pack)
	local name = "prosody_stanza_errors";
	local known, metrics = {}, {};
	for _, condition in ipairs(families[name].values.condition) do
		known[condition] = true;
	end
	for kind, conditions in pairs(likely) do
		metrics[kind] = {};
		for condition in conditions:gmatch("%S+") do
			metrics[kind][condition] = pack:metric(name, kind, condition);
		end
	end
	return function (kind, condition)
		local of_kind = metrics[kind];
		if not known[condition] or not of_kind[condition] and not pack:has_room(name, true) then
			condition = "other";
		end
		local metric = of_kind[condition];
		if not metric then
			metric = pack:metric(name, kind, condition);
			of_kind[condition] = metric;
		end
		metric:add(1);
	end;
end

-- Returns the filter. All stanzas pass it, and protecting it would cost as much as all that it does: so nothing in it can raise an
-- error. Whatever is an error goes to count_error(), and what isn't counted to the function that `watched` has by its name.
local function new_filter(counts, count_error, watched)
	local by_type = session_types.by_type(counts);
	return function (stanza, session)
		-- Filters of others may have made anything of it.
		if type(stanza) ~= "table" then
			return stanza;
		end
		local count = by_type[session.type][stanza.name];
		if count then
			count.number = count.number + 1;
			local attr = stanza.attr;
			if attr and attr.type == "error" then
				count_error(stanza);
			end
		elseif watched[stanza.name] then
			watched[stanza.name](stanza, session);
		end
		return stanza;
	end;
end

-- What external components get is written by their `send`. Prosody's own handler, which is later, takes it as it is then.
local function count_for_components(pack, count)
	local counted = setmetatable({}, { __mode = "k" });
	pack:hook_hosts("stanzas", "stanza/jabber:component:accept:handshake", function (event)
		local session = event.origin;
		if session.type ~= "component_unauthed" or counted[session] then
			return;
		end
		counted[session] = true;
		local send = session.send;
		function session.send(data, ...)
			count(data, session);
			return send(data, ...);
		end
	end, first);
end

-- Stanzas that waited for a connection: Prosody 0.12 has made text of them, and sends that by no filter after this event.
local function count_queued(pack, sent, count_error)
	pack:hook("stanzas", "s2sout-established", function (event)
		local queue = event.session.sendq or {};
		for i = 1, #queue do
			local text = queue[i][1];
			local kind = text:match("^<(%l+)[%s/>]");
			if sent[kind] then
				sent[kind]:add(1);
				if text:match("^[^>]*"):match("%stype=[\"']error[\"']") then
					count_error(kind, text:match(condition_in_text));
				end
			end
		end
	end, first);
end

return function (pack)
	local is_counted = pack.options.stanzas;
	local metrics = is_counted and pack:all("prosody_stanzas");
	local count_error = is_counted and count_errors(pack);
	local filter = new_filter(is_counted and new_counts(pack, metrics.out) or {}, pack:guard("stanzas", function (stanza)
		count_error(stanza.name, condition_of(stanza));
	end), pack.watched);

	local filters = require "util.filters";
	filters.add_filter_hook(pack:guard("stanzas", function (session)
		filters.add_filter(session, "stanzas/out", filter, last);
	end));
	if is_counted then
		pack.received_stanzas = new_counts(pack, metrics["in"]);
		count_for_components(pack, filter);
		count_queued(pack, metrics.out.s2s, count_error);
	end
end;
