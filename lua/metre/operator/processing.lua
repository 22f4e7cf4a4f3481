-- Stanzas that are received; how long it takes until all that handles one has returned, and a line in the log for the slow ones.
--
-- Prosody's function is called plainly: handlers may yield in it and raise errors through it. A stanza whose handlers have raised
-- an error isn't measured. What is done for every stanza isn't protected, which would cost as much again: nothing in it can raise
-- an error where Prosody's function wouldn't do so, too.

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

-- Returns a function that logs a slow stanza.
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
	return function (record, seconds, origin, stanza)
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
		log("info", "Slow stanza: %s of type %s%s from a session (%s) of %s took %.3f s", record.kind, type_of(stanza),
			payload_of(stanza), record.session, our_host(origin), seconds);
	end;
end

local name = "prosody_stanza_processing_duration_seconds";

-- What belongs to a stanza, in tables by session and kind: the `number` that was received, and the metric for the `duration`, which
-- comes with the first sample, as most servers have no components and histograms have many lines.
local function new_records(received)
	local records = received or {};
	for _, session in ipairs(families[name].values.session) do
		records[session] = records[session] or {};
		for _, kind in ipairs(families[name].values.kind) do
			local record = records[session][kind] or { number = 0 };
			record.session, record.kind = session, kind;
			records[session][kind] = record;
		end
	end
	return records;
end

-- Prosody makes some itself: presences of sessions that have ended, errors for those who wait for another server.
local function is_received(origin)
	return not origin.destroyed and not origin.dummy;
end

-- Prosody's function, and around it what counts.
local function counting(process, by_type)
	return function (origin, stanza, ...)
		local record = by_type[origin.type][stanza.name];
		if record and is_received(origin) then
			record.number = record.number + 1;
		end
		return process(origin, stanza, ...);
	end;
end

-- Prosody's function, and around it what counts and measures.
local function measuring(pack, process, by_type)
	-- The usual ones: what clients send and Prosody doesn't. Each has a duration.
	local usual = session_types.with_default { c2s = {}; c2s_unauthed = {}; c2s_unbound = {} };
	local prepare = pack:guard("processing", function (record)
		record.stop = pack:stop_of(name, pack:metric(name, record.session, record.kind));
		if record.session == "c2s" and record.kind ~= "presence" then
			for _, kinds in pairs(usual) do
				kinds[record.kind] = record;
			end
		end
	end);
	local now = pack.now;

	local slow = pack.options.slow_log;
	if slow then
		local log_slow = pack:guard("processing", slow_logger(pack));
		local unlogged = process;
		local function logged(from, origin, stanza, record, ...)
			local seconds = now() - from;
			if seconds >= slow then
				log_slow(record, seconds, origin, stanza);
			end
			return ...;
		end
		process = function (origin, stanza, ...)
			local record = by_type[origin.type][stanza.name];
			if not record then
				return unlogged(origin, stanza, ...);
			end
			return logged(now(), origin, stanza, record, unlogged(origin, stanza, ...));
		end;
	end

	local function unusual(origin, stanza, ...)
		local record = by_type[origin.type][stanza.name];
		if not record then
			return process(origin, stanza, ...);
		end
		if is_received(origin) then
			record.number = record.number + 1;
		end
		if not record.stop then
			prepare(record);
		end
		if not record.stop then
			return process(origin, stanza, ...);
		end
		return record.stop(now(), process(origin, stanza, ...));
	end

	return function (origin, stanza, ...)
		local record = usual[origin.type][stanza.name];
		if not record then
			return unusual(origin, stanza, ...);
		end
		record.number = record.number + 1;
		return record.stop(now(), process(origin, stanza, ...));
	end;
end

return function (pack)
	local prosody, options = pack.prosody, pack.options;
	if not options.processing and not options.stanzas then
		return;
	end
	local by_type = session_types.by_type(new_records(pack.received_stanzas));
	local process = prosody.core_process_stanza;
	-- Modules take it when they are loaded, which is later.
	prosody.core_process_stanza = options.processing and measuring(pack, process, by_type) or counting(process, by_type);
end;
