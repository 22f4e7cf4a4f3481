-- Reads configurations as Prosody would: its own file, metre's TOML file, or what comes on standard input.

local files = require "metre.files";
local with_absolute_file = require "metre.lifecycle".with_absolute_file;

local default_files = { "/etc/prosody/prosody.cfg.lua", "/usr/local/etc/prosody/prosody.cfg.lua" };
local prosody_directories = { "/usr/lib/prosody", "/usr/local/lib/prosody" };

-- What is read from standard input is called so, and includes what lies beside Prosody's own file.
local standard_input = "standard input";

-- Text with what Lua made of it, and no more than one chunk of text: no compiled one.
local function compile(text, name, env)
	if rawget(_G, "setfenv") then
		if text:byte() == 27 then
			return nil, "it is a compiled program";
		end
		local chunk, err = loadstring(text, name); -- luacheck: ignore 113
		return chunk and setfenv(chunk, env), err; -- luacheck: ignore 113
	end
	return load(text, name, "t", env); -- luacheck: ignore 143
end

-- The version of the Prosody in whose directory this is, for messages.
local function version_in(directories)
	for _, directory in ipairs(directories) do
		local text = files.contents(directory .. "/prosody.version");
		if text then
			return text:match("%S+");
		end
	end
end

-- What Prosody 13 has for configurations and 0.12 has not: there such a name is that of a global. Returns a function that
-- takes them away again.
local function lend_functions(directory, used)
	local before = {};
	for name, read in pairs(files.readers(directory)) do
		before[name] = { rawget(_G, name) };
		rawset(_G, name, function (...)
			used[name] = true;
			return read(...);
		end);
	end
	-- Prosody 13.0.0 looks there for credentials.
	before.prosody = { rawget(_G, "prosody") };
	rawset(_G, "prosody", before.prosody[1]
		or { paths = { credentials = os.getenv("CREDENTIALS_DIRECTORY") }, process_type = "metre" });
	return function ()
		for name, value in pairs(before) do
			rawset(_G, name, value[1]);
		end
	end
end

-- Has a text be the contents of a file that is opened under this name. Returns a function that ends it.
local function pretend(name, text)
	local open = io.open;
	io.open = function (wanted, ...) -- luacheck: ignore 122
		if wanted ~= name then
			return open(wanted, ...);
		end
		return { read = function () return text; end, close = function () return true; end };
	end
	return function ()
		io.open = open; -- luacheck: ignore 122
	end
end

-- Loads a file, or a text under a file's name, with Prosody's own reader. Returns that reader, and warnings; or nil and why not.
local function load_with_prosody(name, text, used)
	for _, directory in ipairs(prosody_directories) do
		package.path = directory .. "/?.lua;" .. package.path;
		package.cpath = directory .. "/?.so;" .. package.cpath;
	end
	pcall(require, "loader"); -- Prosody 13 has one
	local take_back = lend_functions(name:match("^(.*)/"), used);
	local found, configuration = pcall(require, "core.configmanager");
	if not found then
		take_back();
		return nil, "Prosody's own files, which read it, could not be loaded into " .. _VERSION .. " from "
			.. table.concat(prosody_directories, " or ") .. "; give metre's TOML file instead. " .. tostring(configuration):match("^[^\n]*");
	end
	if configuration.set_credentials_directory then -- since 13.0.1
		configuration.set_credentials_directory(os.getenv("CREDENTIALS_DIRECTORY"));
		configuration.set_credential_fallback_mode("warn");
	end
	local stop = text and pretend(name, text);
	local ran, ok, where, why = pcall(configuration.load, name, "lua");
	if stop then
		stop();
	end
	take_back();
	if not ran or not ok then
		return nil, ran and why and tostring(where) .. ": " .. tostring(why) or tostring(ran and where or ok);
	end
	return configuration, type(why) == "table" and why or {};
end

-- A configuration as it is where credentials are missing, for which Prosody 13 has error objects.
local function without_errors(value, warnings)
	local found, errors = pcall(require, "util.error");
	if type(value) ~= "table" or not found or not errors.is_error then
		return value;
	end
	local seen = {};
	local function copy(from, place)
		if type(from) ~= "table" or seen[from] then
			return seen[from] or from;
		elseif errors.is_error(from) then
			table.insert(warnings, ("'%s' is not looked at: %s"):format(place, tostring(from.text)));
			return nil;
		end
		seen[from] = {};
		for key, inner in pairs(from) do
			seen[from][key] = copy(inner, place .. "." .. tostring(key));
		end
		return seen[from];
	end
	return copy(value, "statistics_config");
end

-- What Prosody itself makes of its configuration; or nil and why not.
local function read_prosody(name, text)
	local used, problems, warnings = {}, {}, {};
	local configuration, err = load_with_prosody(name, text, used);
	if not configuration then
		return nil, err;
	end
	for function_name in pairs(used) do
		table.insert(problems, ("'%s' is for Prosody 13 and later; this one, %s, does not start with it"):format(
			function_name, version_in(prosody_directories) or "an older one"));
	end
	table.sort(problems);
	for _, warning in ipairs(err) do
		if warning:find("'statistics", 1, true) or warning:find("Credential", 1, true) then
			table.insert(warnings, warning);
		end
	end
	local hosts = configuration.getconfig();
	local global = rawget(hosts, "*") or {};
	return {
		from_prosody = true;
		hosts = hosts;
		options = global;
		statistics = global.statistics;
		config = without_errors(global.statistics_config, warnings);
		problems = problems;
		warnings = warnings;
	};
end

-- A table alone, as it stands behind `statistics_config =`; nil if the text is none.
local function read_table(text)
	local readers = files.readers(files.working_directory());
	local env = setmetatable({}, { __index = function (_, name)
		if name:match("^ENV_") then
			return os.getenv(name:sub(5));
		end
		return readers[name] or rawget(_G, name);
	end });
	local chunk = compile("return " .. text:gsub("^%s*return%f[%W]", ""), "=" .. standard_input, env);
	if not chunk then
		return nil;
	end
	local ran, given = pcall(chunk);
	if not ran then
		return nil, tostring(given);
	end
	return type(given) == "table" and { config = given } or nil;
end

-- metre's TOML file from a text: the native module reads files only.
local function read_toml(text)
	local name = os.tmpname();
	local file = assert(io.open(name, "w"));
	file:write(text);
	file:close();
	return { config = { config_file = name }, temporary = name };
end

-- What comes on standard input: a table, Prosody's configuration, or metre's in TOML.
local function read_standard_input(input)
	local text = input:read("*a") or "";
	local given, err = read_table(text);
	if not given and not err then
		if compile(text, "=" .. standard_input, {}) then
			given, err = read_prosody(default_files[1]:match("^(.*)/") .. "/" .. standard_input, text);
		else
			given = read_toml(text);
		end
	end
	return given, err;
end

-- The configuration in a file ("-": on standard input), as metre gets it from Prosody; or nil and why not. It has `config`,
-- `name`, and lists of `problems`, `warnings` and `notes`; `statistics`, `options` and `hosts` if it is Prosody's (`from_prosody`).
local function read(name, input)
	local given, err;
	for _, default in ipairs(default_files) do
		name = name or files.is_readable(default) and default;
	end
	if not name then
		return nil, "no file given, and none is readable at " .. table.concat(default_files, " or ");
	elseif name == "-" then
		name = standard_input;
		given, err = read_standard_input(input);
	else
		name = files.absolute(name);
		if not name:match("%.lua$") then
			given = { config = { config_file = name } };
		elseif not files.is_readable(name) then
			return nil, name .. ": cannot be read; check the name, and that you may read it";
		else
			given, err = read_prosody(name);
			if given then
				given.config = with_absolute_file(given.config, name:match("^(.*)/[^/]*$"));
			end
		end
	end
	if not given then
		return nil, name .. ": " .. err;
	end
	given.name = name;
	given.problems, given.warnings, given.notes = given.problems or {}, given.warnings or {}, {};
	return given;
end

-- Nothing is left of it.
local function forget(given)
	if given.temporary then
		os.remove(given.temporary);
	end
end

return {
	forget = forget;
	read = read;
};
