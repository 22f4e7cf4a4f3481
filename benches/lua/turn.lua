-- One turn: measures each case with one provider, in this process alone. Prints a line a case: its name, a tab, nanoseconds.
--
-- Usage: lua turn.lua CASES PROVIDER [VARIANT]

local cases = require("cases." .. arg[1]);
local provider = require "providers"[arg[2]];

local function new_registry(config)
	return provider(config or cases.config and cases.config(arg[3]));
end

local registry = new_registry();
for _, case in ipairs(cases) do
	if not (case.skip and case.skip(arg[2])) then
		local measured, warm_up = case.prepare(registry, new_registry);
		collectgarbage();
		if warm_up then
			warm_up();
		end
		local start = os.clock();
		measured(case.times);
		print(case.name .. "\t" .. (os.clock() - start) / case.times * 1e9);
	end
end
