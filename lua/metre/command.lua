-- The `metre` command: looks at a configuration without running it.

local native = require "metre.native";
local with_absolute_file = require "metre.lifecycle".with_absolute_file;

local usage = [[
metre check [FILE]             look for mistakes in a configuration; ends with status 1 if there are any
metre explain [OPTIONS] NAME   show what a metric family of this name gets, and from which rule
    --config FILE              the configuration
    --type TYPE                gauge, counter, histogram or summary; otherwise all of them
    --host HOST                with the rules for this host

FILE is Prosody's configuration, /etc/prosody/prosody.cfg.lua unless given, or metre's own TOML file.
]];

local default_files = { "/etc/prosody/prosody.cfg.lua", "/usr/local/etc/prosody/prosody.cfg.lua" };
local prosody_directories = { "/usr/lib/prosody", "/usr/local/lib/prosody" };

local function readable(name)
	local file = io.open(name);
	if file then
		file:close();
	end
	return file ~= nil;
end

-- What Prosody itself makes of its configuration: `statistics` and `statistics_config`; or nil and why not.
local function read_prosody(name)
	for _, directory in ipairs(prosody_directories) do
		package.path = package.path .. ";" .. directory .. "/?.lua";
		package.cpath = package.cpath .. ";" .. directory .. "/?.so";
	end
	pcall(require, "loader"); -- Prosody 13 has one
	local found, configuration = pcall(require, "core.configmanager");
	if not found then
		return nil, "Prosody's own files, which read it, were not found in " .. table.concat(prosody_directories, " or ")
			.. "; give metre's TOML file instead";
	end
	local ok, where, why = configuration.load(name);
	if not ok then
		return nil, why and where .. ": " .. why or tostring(where);
	end
	return { statistics = configuration.get("*", "statistics"), config = configuration.get("*", "statistics_config") };
end

-- The configuration in a file, as metre gets it from Prosody, and whether it is for the statsd pusher; or nil and why not.
local function read(name)
	if not name then
		for _, default in ipairs(default_files) do
			name = name or readable(default) and default;
		end
		if not name then
			return nil, "no file given, and none is readable at " .. table.concat(default_files, " or ");
		end
	end
	if name:match("%.toml$") then
		return { config = { config_file = name }, name = name };
	end
	if not readable(name) then
		return nil, name .. ": cannot be read; check the name, and that you may read it";
	end
	local read_in, err = read_prosody(name);
	if not read_in then
		return nil, name .. ": " .. err;
	end
	local config = with_absolute_file(read_in.config, name:match("^(.*)/[^/]*$") or ".");
	return { config = config, statistics = read_in.statistics, from_prosody = true, name = name };
end

local function check(out, arguments)
	if #arguments > 1 or (arguments[1] or ""):match("^%-") then
		return nil;
	end
	local given, err = read(arguments[1]);
	if not given then
		out:write("metre: ", err, "\n");
		return 1;
	end
	local statistics = given.statistics;
	if given.from_prosody and statistics ~= ":metre" and statistics ~= ":metre.statsd" then
		out:write(given.name, ": note: statistics is ", statistics and ("%q"):format(tostring(statistics)) or "not set",
			", so Prosody does not use metre\n");
	end
	local problems = native.check(given.config, statistics == ":metre.statsd");
	for _, problem in ipairs(problems) do
		out:write(problem, "\n");
	end
	if #problems == 0 then
		out:write(given.name, ": no mistakes found\n");
	end
	return #problems == 0 and 0 or 1;
end

local function explain(out, arguments)
	local options, name = {}, nil;
	local i = 1;
	while i <= #arguments do
		local option = arguments[i]:match("^%-%-(%a+)$");
		if option then
			if (option ~= "config" and option ~= "type" and option ~= "host") or not arguments[i + 1] then
				return nil;
			end
			options[option] = arguments[i + 1];
			i = i + 1;
		elseif name then
			return nil;
		else
			name = arguments[i];
		end
		i = i + 1;
	end
	if not name then
		return nil;
	end
	local given, err = read(options.config);
	local told;
	if given then
		told, err = native.explain(given.config, name, options.type, options.host);
	end
	out:write(told or "metre: " .. tostring(err) .. "\n");
	return told and 0 or 1;
end

local commands = { check = check, explain = explain };

-- Runs the command with these arguments, and returns its exit status.
local function main(arguments, out)
	out = out or io.stdout;
	local rest = {};
	for i = 2, #arguments do
		rest[i - 1] = arguments[i];
	end
	local command = commands[arguments[1]];
	local status = command and command(out, rest);
	if not status then
		out:write(usage);
		return (arguments[1] == "help" or arguments[1] == "--help") and 0 or 2;
	end
	return status;
end

return {
	main = main;
};
