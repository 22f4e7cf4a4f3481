-- When metre may start and stop what runs beside Prosody's thread.
--
-- new() runs before Prosody forks into the background, and in prosodyctl as well, so nothing starts there.

local log = require "metre.log";

-- Handlers run from high to low. In 0.12 server-started daemonizes at 0, and the first collection is at -1; the last
-- collection is at -1 of server-stopped.
local after_fork, after_last_collection = -0.5, -2;

-- Native functions return nil and a message when they fail, which nobody expects of these.
local function report(_, err)
	if err then
		log("error", "Please report: %s", tostring(err));
	end
end

-- An error in a handler would end Prosody, and a returned value would keep the others from running.
local function protected(f)
	return function ()
		local ok, result, err = pcall(f);
		if ok then
			report(result, err);
		else
			report(nil, result);
		end
	end
end

local function attach(provider)
	local prosody = rawget(_G, "prosody");
	if not prosody or prosody.process_type ~= "prosody" then
		return;
	end
	prosody.events.add_handler("server-started", protected(provider.start), after_fork);
	prosody.events.add_handler("server-stopped", protected(provider.stop), after_last_collection);
end

-- A relative config_file is looked for beside Prosody's own configuration, since Prosody changes its directory.
local function with_absolute_file(config)
	local prosody = rawget(_G, "prosody");
	local directory = prosody and prosody.paths and prosody.paths.config;
	local file = type(config) == "table" and rawget(config, "config_file");
	if not directory or type(file) ~= "string" or file == "" or file:match("^/") then
		return config;
	end
	local copy = {};
	for key, value in pairs(config) do
		copy[key] = value;
	end
	copy.config_file = directory .. "/" .. file;
	return copy;
end

return {
	attach = attach;
	report = report;
	with_absolute_file = with_absolute_file;
};
