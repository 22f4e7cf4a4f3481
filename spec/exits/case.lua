-- Usage: case.lua list | case.lua CASE RUN. Lists the cases that this Lua can run, or runs one.

local themes = { "ends", "callbacks", "signals", "states", "forks", "several" };

local t = require "exits.tools";

local cases, names = {}, {};
for _, theme in ipairs(themes) do
	for _, case in ipairs(require("exits.cases." .. theme)) do
		local name = theme .. ": " .. case.name;
		if not case.closes or t.can_close then
			cases[name] = case;
			table.insert(names, name);
		end
	end
end

if arg[1] == "list" then
	for _, name in ipairs(names) do
		local case = cases[name];
		-- How it ends, what it may complain of, and what it is killed by once it is ready.
		t.say(table.concat({ name, case.ends or "exit 0", case.stderr or "", case.killed_by or "" }, "\t"));
	end
else
	cases[arg[1]].run(t, assert(tonumber(arg[2])));
end
