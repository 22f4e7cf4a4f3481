-- Stanzas that sessions receive and send, and the errors among those that they send.
--
-- Filters see them, one function for each direction that all sessions share: a session is initialised twice if it is one of
-- another server, and it gets the filters of a new one when it is resumed; a function that is there already isn't added. The
-- filter of what comes is the first, the filter of what goes is the last, so that whatever another filter drops was received
-- but not sent. Sessions of external components have no filters, nor has what Prosody 0.12 has kept for another server.

local families = require "metre.operator.families";
local session_types = require "metre.operator.session_types";

local type = type;

local first, last = math.huge, -math.huge;

-- Namespaces of streams, which some stanzas carry.
local stream_namespaces = {
	["jabber:client"] = true; ["jabber:server"] = true; ["jabber:component:accept"] = true;
};

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

-- From tables by the label of a session one by its type.
local function by_type(by_session)
	local result = {};
	for of_prosody, session in pairs(session_types) do
		result[of_prosody] = by_session[session];
	end
	return result;
end

-- The condition of an error, or nil.
local function condition_of(stanza)
	local children = stanza.tags;
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
		if not known[condition] then
			condition = "other";
		end
		local of_kind = metrics[kind];
		local metric = of_kind[condition];
		if not metric then
			metric = pack:metric(name, kind, condition);
			of_kind[condition] = metric;
		end
		metric:add(1);
	end;
end

-- External components: what they send goes straight to Prosody's router, what they get is written by their `send`.
local function count_components(pack, received_filter, sent_filter)
	if pack.options.processing then
		-- There is a function in front of the router already; two would cost more.
		pack.received_from_component = received_filter;
	else
		local process = pack.prosody.core_process_stanza;
		-- Modules take it when they are loaded, which is later.
		pack.prosody.core_process_stanza = function (origin, stanza, ...)
			if origin.type == "component" then
				received_filter(stanza, origin);
			end
			return process(origin, stanza, ...);
		end;
	end
	-- Prosody's own handler, which is later, takes `send` as it is then.
	local counted = setmetatable({}, { __mode = "k" });
	pack:hook_hosts("stanzas", "stanza/jabber:component:accept:handshake", function (event)
		local session = event.origin;
		if session.type ~= "component_unauthed" or counted[session] then
			return;
		end
		counted[session] = true;
		local send = session.send;
		function session.send(data)
			return send(sent_filter(data, session));
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
	if not pack.options.stanzas then
		return;
	end
	local metrics = pack:all("prosody_stanzas");
	local received, sent = by_type(metrics["in"]), by_type(metrics.out);
	local count_error = count_errors(pack);
	local watched = pack.watched;

	local count_sent_error = pack:guard("stanzas", function (stanza)
		count_error(stanza.name, condition_of(stanza));
	end);

	-- BEGIN of what each stanza passes

	-- Nothing in these two can raise, so they are not protected, which would cost as much again: what is received comes from
	-- Prosody's parser, and what other filters have left is looked at.
	local function received_filter(stanza, session)
		local kinds = received[session.type];
		local metric = kinds and kinds[stanza.name];
		if metric then
			local xmlns = stanza.attr.xmlns;
			if not xmlns or stream_namespaces[xmlns] then
				metric:add(1);
			end
		end
		return stanza;
	end
	local function sent_filter(stanza, session)
		local kinds = sent[session.type];
		local metric = kinds and type(stanza) == "table" and kinds[stanza.name];
		local attr = metric and stanza.attr;
		if attr then
			local xmlns = attr.xmlns;
			if not xmlns or stream_namespaces[xmlns] then
				metric:add(1);
				if attr.type == "error" then
					count_sent_error(stanza);
				end
			end
		elseif type(stanza) == "table" and watched[stanza.name] then
			watched[stanza.name](stanza, session);
		end
		return stanza;
	end

	-- END of what each stanza passes

	local filters = require "util.filters";
	filters.add_filter_hook(pack:guard("stanzas", function (session)
		filters.add_filter(session, "stanzas/in", received_filter, first);
		filters.add_filter(session, "stanzas/out", sent_filter, last);
	end));
	count_components(pack, received_filter, sent_filter);
	count_queued(pack, metrics.out.s2s, count_error);
end;
