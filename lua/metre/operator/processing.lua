-- How long it takes until all that handles a stanza has returned, and a line in the log for the slow ones.
--
-- Prosody's function is called plainly: handlers may yield in it and raise errors through it. A stanza whose handlers have raised
-- an error isn't measured.

local families = require "metre.operator.families";
local log = require "metre.log";
local session_types = require "metre.operator.session_types";

-- What may stand in the log of what a stranger has sent.
local known_types = {
	available = true; chat = true; error = true; get = true; groupchat = true; headline = true; normal = true; probe = true;
	result = true; set = true; subscribe = true; subscribed = true; unavailable = true; unsubscribe = true; unsubscribed = true;
};
local default_types = { message = "normal"; presence = "available" };
local most_of_namespace = 80;

-- Lines in the log that slow stanzas may have in that many seconds.
local most_lines, each = 10, 60;

local function type_of(stanza)
	local type = stanza.attr.type or default_types[stanza.name];
	return known_types[type] and type or "other";
end

-- The namespace of what an iq has, as far as it may be shown.
local function payload_of(stanza)
	local payload = stanza.name == "iq" and stanza.tags[1];
	local xmlns = payload and payload.attr.xmlns;
	if not xmlns then
		return "";
	end
	return " with " .. xmlns:sub(1, most_of_namespace):gsub("[^%w:/#._+-]", "?");
end

-- Returns a function that logs a stanza that was slow.
local function slow_logger(pack)
	local began, lines, left_out = -each, 0, 0;
	local function our_host(origin)
		for _, key in ipairs { "host", "to_host", "from_host" } do
			local host = pack:host_label(origin[key]);
			if host ~= "" then
				return host;
			end
		end
		return "no host";
	end
	return function (series, seconds, origin, stanza)
		local now = pack.now();
		if now - began >= each then
			if left_out > 0 then
				log("info", "Slow stanzas: %d more were not logged", left_out);
			end
			began, lines, left_out = now, 0, 0;
		end
		if lines >= most_lines then
			left_out = left_out + 1;
			return;
		end
		lines = lines + 1;
		log("info", "Slow stanza: %s of type %s%s from a session (%s) of %s took %.3f s", series.kind, type_of(stanza),
			payload_of(stanza), series.session, our_host(origin), seconds);
	end;
end

return function (pack)
	if not pack.options.processing then
		return;
	end
	local name = "prosody_stanza_processing_duration_seconds";
	local by_session = {};
	for _, session in ipairs(families[name].values.session) do
		by_session[session] = {};
		for _, kind in ipairs(families[name].values.kind) do
			by_session[session][kind] = { session = session; kind = kind };
		end
	end
	local by_type = {};
	for type, session in pairs(session_types) do
		by_type[type] = by_session[session];
	end

	local now = pack.now;
	local slow = pack.options.slow_log;
	local log_slow = slow and pack:guard("processing", slow_logger(pack));
	-- With the first sample: most servers have no components, and histograms have many lines.
	local make_metric = pack:guard("processing", function (series)
		series.metric = pack:metric(name, series.session, series.kind);
	end);
	-- stanzas.lua counts what comes from components here.
	local received_from_component = pack.received_from_component;

	-- Nothing in these two can raise but what Prosody's own function raises, which looks at the same fields. So they are not
	-- protected: that would cost more than what they do.
	local function after(series, began, origin, stanza, ...)
		local seconds = now() - began;
		if not series.metric then
			make_metric(series);
		end
		local metric = series.metric;
		if metric then
			metric:sample(seconds);
		end
		if slow and seconds >= slow then
			log_slow(series, seconds, origin, stanza);
		end
		return ...;
	end
	local process = pack.prosody.core_process_stanza;
	-- Modules take it when they are loaded, which is later.
	pack.prosody.core_process_stanza = function (origin, stanza, ...)
		local kinds = by_type[origin.type];
		local series = kinds and kinds[stanza.name];
		if not series then
			return process(origin, stanza, ...);
		end
		if received_from_component and origin.type == "component" then
			received_from_component(stanza, origin);
		end
		if stanza.attr.xmlns then
			return process(origin, stanza, ...);
		end
		return after(series, now(), origin, stanza, process(origin, stanza, ...));
	end;
end;
