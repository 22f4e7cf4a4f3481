-- luacheck: globals module prosody
-- Tells what hangs on Prosody: handlers of events, filters, sinks of the log, and functions that others may replace.

local filters = require "util.filters";
local json = require "util.json";
local logger = require "util.logger";
local portmanager = require "core.portmanager";

module:set_global();

local function upvalue(f, wanted)
	for i = 1, math.huge do
		local name, value = debug.getupvalue(f, i);
		if name == wanted or not name then
			return value;
		end
	end
end

-- Where a function was written.
local function origin(f)
	local source = debug.getinfo(f, "S").short_src;
	return source:match("/(metre/.*)$") or source:match("([^/]*)$");
end

-- By the name of each place, what hangs there: a list of the files of its functions.
local function look()
	local places = {};
	local function note(place, f)
		places[place] = places[place] or {};
		table.insert(places[place], origin(f));
	end
	local function note_events(events, place)
		for event, map in pairs(events._event_map) do
			for handler in pairs(map) do
				note(place .. event, handler);
			end
		end
		for wrapped in pairs(upvalue(events.add_wrapper, "wrappers")) do
			note(place .. tostring(wrapped) .. " wrapped", events.add_wrapper);
		end
	end
	note_events(prosody.events, "");
	for host, session in pairs(prosody.hosts) do
		note_events(session.events, host .. " ");
		for _, item in ipairs(require "core.modulemanager".get_items("storage-provider", host) or {}) do
			note(host .. " storage " .. item.name, item.open);
		end
	end
	for _, hook in ipairs(upvalue(filters.add_filter_hook, "new_filter_hooks")) do
		note("filters", hook);
	end
	for level, sinks in pairs(upvalue(logger.add_level_sink, "level_sinks")) do
		for _, sink in ipairs(sinks) do
			note("log " .. level, sink);
		end
	end
	for name, services in pairs(portmanager.get_registered_services()) do
		for _, service in ipairs(services) do
			for event, f in pairs(service.listener or {}) do
				if type(f) == "function" then
					note("listener " .. name .. " " .. event, f);
				end
			end
		end
	end
	for name, f in pairs(prosody) do
		if type(f) == "function" then
			note("prosody." .. name, f);
		end
	end
	for name, library in pairs(package.loaded) do
		local room = name:gsub("^prosody%.", ""):match("^%a+");
		if room == "metre" then
			note("loaded " .. name, look);
		elseif type(library) == "table" and (room == "core" or room == "net" or room == "util") then
			for key, f in pairs(library) do
				if type(f) == "function" then
					note(name .. "." .. tostring(key), f);
				end
			end
		end
	end
	for _, list in pairs(places) do
		table.sort(list);
	end
	return places;
end

local function tell(name)
	local file = assert(io.open(name, "w"));
	file:write(json.encode(look()));
	file:close();
end

-- For Prosody's shell.
module.environment.tell = tell;

-- For prosodyctl.
function module.command(arguments)
	require "core.statsmanager";
	tell(arguments[1]);
	return 0;
end
