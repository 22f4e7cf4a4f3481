-- Runs cases turn by turn, each turn in a process of its own, so that nobody pays for collecting another one's garbage.

-- Measures each case with its registry and prints nanoseconds, a line a case.
local function run(cases, new_registry)
	local registry = new_registry();
	for _, case in ipairs(cases) do
		local measured = case.prepare(registry, new_registry);
		collectgarbage();
		local start = os.clock();
		measured(case.times);
		print((os.clock() - start) / case.times * 1e9);
	end
end

local function median(list)
	table.sort(list);
	return list[math.ceil(#list / 2)];
end

-- Runs this script as often with each of these arguments after "run". The medians by argument's and case's number.
local function medians(rounds, arguments, cases)
	local times = {};
	for _ = 1, rounds do
		for number, argument in ipairs(arguments) do
			times[number] = times[number] or {};
			local output = assert(io.popen(arg[-1] .. " " .. arg[0] .. " run " .. argument .. " 2>/dev/null"));
			for i = 1, #cases do
				local nanoseconds = output:read("*n");
				assert(nanoseconds, "the run of " .. argument .. " has failed");
				times[number][i] = times[number][i] or {};
				table.insert(times[number][i], nanoseconds);
			end
			output:close();
		end
	end
	for _, of_argument in ipairs(times) do
		for i, list in ipairs(of_argument) do
			of_argument[i] = median(list);
		end
	end
	return times;
end

return {
	medians = medians;
	run = run;
};
