-- The `metre` command: looks at a configuration without running it.

local native = require "metre.native";
local with_absolute_file = require "metre.lifecycle".with_absolute_file;

local usage = [[
metre check [FILE]             look for mistakes in a configuration; ends with status 1 if there are any
metre explain [OPTIONS] NAME   show what a metric family of this name gets, and from which rule
    --config FILE              the configuration
    --type TYPE                gauge, counter, histogram or summary; otherwise all of them
    --host HOST                with the rules for this host

FILE is Prosody's configuration, /etc/prosody/prosody.cfg.lua unless given, if its name ends in .lua, else metre's own TOML file.
Run it as Prosody's user to see whether that may read the files: sudo -u prosody metre check
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

-- A relative name from the root on, since Prosody looks for included files from there.
local function absolute(name)
	if name:match("^/") then
		return name;
	end
	local found, lfs = pcall(require, "lfs");
	local directory = found and lfs.currentdir() or os.getenv("PWD");
	return directory and directory .. "/" .. name:gsub("^%./", "") or name;
end

local keys = { "statistics", "statistics_config", "statistics_interval" };

-- Keys that stand where Prosody doesn't look for them: after a VirtualHost or a Component.
local function misplaced(configuration)
	local problems = {};
	for host, options in pairs(configuration.getconfig()) do
		for _, key in ipairs(keys) do
			if host ~= "*" and rawget(options, key) ~= nil then
				table.insert(problems, ("'%s' stands after the VirtualHost or Component \"%s\", where it has no effect; "
					.. "move it above the first one"):format(key, host));
			end
		end
	end
	table.sort(problems);
	return problems;
end

-- Prosody 13 can take values from files that the service manager gives it. As prosodyctl, this runs without them unless it is told
-- where they are.
local function know_credentials(configuration)
	if not configuration.set_credentials_directory then
		return;
	end
	local directory = os.getenv("CREDENTIALS_DIRECTORY");
	if directory then
		configuration.set_credentials_directory(directory);
	end
	configuration.set_credential_fallback_mode("warn");
end

-- Takes out what would have come from such a file, and says so: it may be right.
local function without_credentials(value, place, notes)
	local is_error = require "util.error".is_error;
	for key, inner in pairs(type(value) == "table" and value or {}) do
		local here = place .. "." .. tostring(key);
		if is_error(inner) then
			value[key] = nil;
			table.insert(notes, ("note: '%s' is a Credential(), and not looked at, since $CREDENTIALS_DIRECTORY is not set"):format(here));
		else
			without_credentials(inner, here, notes);
		end
	end
	return value;
end

-- What Prosody itself makes of its configuration: `statistics`, `statistics_config` and what is wrong with where they stand;
-- or nil and why not.
local function read_prosody(name)
	for _, directory in ipairs(prosody_directories) do
		package.path = directory .. "/?.lua;" .. package.path;
		package.cpath = directory .. "/?.so;" .. package.cpath;
	end
	pcall(require, "loader"); -- Prosody 13 has one
	local found, configuration = pcall(require, "core.configmanager");
	if not found then
		return nil, "Prosody's own files, which read it, could not be loaded into " .. _VERSION .. " from "
			.. table.concat(prosody_directories, " or ") .. "; give metre's TOML file instead. " .. tostring(configuration);
	end
	know_credentials(configuration);
	local ran, ok, where, why = pcall(configuration.load, name);
	if not ran or not ok then
		return nil, ran and why and tostring(where) .. ": " .. tostring(why) or tostring(ran and where or ok);
	end
	local notes = {};
	return {
		statistics = configuration.get("*", "statistics");
		config = without_credentials(configuration.get("*", "statistics_config"), "statistics_config", notes);
		problems = misplaced(configuration);
		notes = notes;
	};
end

-- The configuration in a file, as metre gets it from Prosody; or nil and why not.
local function read(name)
	for _, default in ipairs(default_files) do
		name = name or readable(default) and default;
	end
	if not name then
		return nil, "no file given, and none is readable at " .. table.concat(default_files, " or ");
	end
	name = absolute(name);
	if not name:match("%.lua$") then
		return { config = { config_file = name }, name = name, problems = {} };
	end
	if not readable(name) then
		return nil, name .. ": cannot be read; check the name, and that you may read it";
	end
	local read_in, err = read_prosody(name);
	if not read_in then
		return nil, name .. ": " .. err;
	end
	read_in.config = with_absolute_file(read_in.config, name:match("^(.*)/[^/]*$"));
	read_in.from_prosody, read_in.name = true, name;
	return read_in;
end

-- Whether Prosody uses metre, for those who thought so.
local function look_at_provider(given)
	local statistics = given.statistics;
	if not given.from_prosody or statistics == ":metre" or statistics == ":metre.statsd" then
		return;
	elseif statistics == "metre" or statistics == "metre.statsd" then
		table.insert(given.problems, ('\'statistics\' is "%s"; did you mean ":%s"?'):format(statistics, statistics));
	elseif #given.problems == 0 then
		return given.name .. ": note: statistics is " .. (statistics and ("%q"):format(tostring(statistics)) or "not set")
			.. ", so Prosody does not use metre\n";
	end
end

local function check(out, arguments)
	if #arguments > 1 then
		return nil, "one file at a time";
	elseif (arguments[1] or ""):match("^%-") then
		return nil, "no option is called " .. arguments[1];
	end
	local given, err = read(arguments[1]);
	if not given then
		out:write("metre: ", err, "\n");
		return 1;
	end
	out:write(look_at_provider(given) or "");
	for _, note in ipairs(given.notes or {}) do
		out:write(given.name, ": ", note, "\n");
	end
	local problems = given.problems;
	for _, problem in ipairs(native.check(given.config, given.statistics == ":metre.statsd")) do
		table.insert(problems, problem);
	end
	for _, problem in ipairs(problems) do
		-- What is wrong with a TOML file begins with its name.
		local of_table = problem:match("^'") or problem:match("^statistics_config");
		out:write(of_table and given.name .. ": " or "", problem, "\n");
	end
	if #problems == 0 then
		out:write(given.name, ": no mistakes found\n");
	end
	return #problems == 0 and 0 or 1;
end

local options_of_explain = { config = true, type = true, host = true };

-- The options and the name among the arguments; or nil and what is wrong.
local function explain_arguments(arguments)
	local options, name = {}, nil;
	local i = 1;
	while i <= #arguments do
		local option, value = arguments[i]:match("^%-%-?([^=]+)=?(.*)$");
		if option and not options_of_explain[option] then
			return nil, "no option is called " .. arguments[i];
		elseif option then
			if not arguments[i]:find("=", 1, true) then
				i = i + 1;
				value = arguments[i];
			end
			if not value then
				return nil, "--" .. option .. " needs a value";
			end
			options[option] = value;
		elseif name then
			return nil, "one name at a time";
		else
			name = arguments[i];
		end
		i = i + 1;
	end
	if not name then
		return nil, "the name of a metric family is missing";
	end
	return options, name;
end

local function explain(out, arguments)
	local options, name = explain_arguments(arguments);
	if not options then
		return nil, name;
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

local asks_for_help = { help = true, ["--help"] = true, ["-h"] = true };

-- Runs the command with these arguments, and returns its exit status.
local function main(arguments, out)
	out = out or io.stdout;
	local rest = {};
	for i = 2, #arguments do
		rest[i - 1] = arguments[i];
	end
	if asks_for_help[arguments[1]] or asks_for_help[rest[1]] then
		out:write(usage);
		return 0;
	end
	local command = commands[arguments[1]];
	local status, wrong;
	if command then
		status, wrong = command(out, rest);
	elseif arguments[1] then
		wrong = "no command is called " .. arguments[1];
	end
	if not status then
		out:write(wrong and "metre: " .. wrong .. "\n\n" or "", usage);
		return 2;
	end
	return status;
end

return {
	main = main;
};
