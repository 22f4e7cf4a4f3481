-- The `metre` command: looks at a configuration without running it.

local configuration = require "metre.configuration";
local kind_of = require "metre.explain".kind_of;
local look = require "metre.look";
local native = require "metre.native";

local files = [[
FILE is Prosody's configuration if its name ends in .lua, else metre's own TOML file; /etc/prosody/prosody.cfg.lua unless given. With -
it is read from standard input: either of them, or a table alone, as it stands behind 'statistics_config ='.
]];

local usage = [[
metre check [FILE]             look for mistakes in a configuration
metre explain [OPTIONS] NAME   show what a metric family of this name gets, and from which rule
metre help [COMMAND]           show this, or more about a command
metre --version                show the version

Exit status: 0 if all is well, 1 if there are mistakes or nothing could be read, 2 if the command was not understood.
]];

local help = {
	check = [[
metre check [FILE]

Looks for mistakes in a configuration before a restart of Prosody, and tells each with its remedy: metre's keys, and what goes wrong with
those of Prosody that matter to it. Ends with status 1 if there are any; warnings alone leave it at 0.

]] .. files .. [[
Run it as Prosody's user to see whether that may read the files: sudo -u prosody metre check
]];
	explain = [[
metre explain [OPTIONS] NAME

Shows what the metric family of this name gets by limits and rules, and from which of them. NAME is what a module has called it, or what
it is called on the page.

    --config FILE              the configuration
    --type TYPE                gauge, counter, histogram or summary; otherwise that of metre's own families, or all of them
    --host HOST                with the rules for this host

]] .. files;
	help = [[
metre help [COMMAND]

Shows what there is, or more about a command: check, explain.
]];
};

-- One that is unknown is told what there is.
local function no_command(name)
	return nil, "no command is called " .. tostring(name);
end

local function check(out, arguments, input)
	if #arguments > 1 then
		return nil, "one file at a time";
	elseif (arguments[1] or ""):match("^%-.") then
		return nil, "no option is called " .. arguments[1];
	end
	local given, err = configuration.read(arguments[1], input);
	if not given then
		out:write("metre: ", err, "\n");
		return 1;
	end
	look(given);
	local problems = given.problems;
	for _, problem in ipairs(native.check(given.config, given.statistics == ":metre.statsd")) do
		table.insert(problems, problem);
	end
	configuration.forget(given);
	for _, note in ipairs(given.notes) do
		out:write(given.name, ": note: ", note, "\n");
	end
	for _, warning in ipairs(given.warnings) do
		out:write(given.name, ": warning: ", warning, "\n");
	end
	for _, problem in ipairs(problems) do
		-- What is wrong with a TOML file begins with its name.
		local of_table = problem:match("^'") or problem:match("^statistics_config");
		local temporary = given.temporary and problem:sub(1, #given.temporary) == given.temporary;
		out:write(of_table and given.name .. ": " or "", temporary and given.name .. problem:sub(#given.temporary + 1) or problem, "\n");
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

local function explain(out, arguments, input)
	local options, name = explain_arguments(arguments);
	if not options then
		return nil, name;
	end
	local given, err = configuration.read(options.config, input);
	local told;
	if given then
		told, err = native.explain(given.config, name, options.type or kind_of(name), options.host);
		configuration.forget(given);
	end
	out:write(told or "metre: " .. tostring(err) .. "\n");
	return told and 0 or 1;
end

local function show_help(out, arguments)
	local name = arguments[1];
	if name and not help[name] then
		return no_command(name);
	end
	out:write(name and help[name] or usage);
	return 0;
end

local function show_version(out)
	out:write("metre ", native.version, " for ", _VERSION, "\n");
	return 0;
end

local commands = {
	check = check, explain = explain,
	help = show_help, ["--help"] = show_help, ["-h"] = show_help,
	version = show_version, ["--version"] = show_version, ["-V"] = show_version,
};

local asks_for_help = { ["--help"] = true, ["-h"] = true };

-- Runs the command with these arguments, and returns its exit status.
local function main(arguments, out, input)
	out, input = out or io.stdout, input or io.stdin;
	local name, rest = arguments[1], {};
	for i = 2, #arguments do
		rest[i - 1] = arguments[i];
	end
	local command, status, wrong = commands[name], nil, nil;
	if command and asks_for_help[rest[1]] then
		status, wrong = show_help(out, { help[name] and name });
	elseif command then
		status, wrong = command(out, rest, input);
	elseif name then
		status, wrong = no_command(name);
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
