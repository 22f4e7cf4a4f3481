-- What limits and rules cost: the same work with and without them, turn by turn. Medians of nanoseconds. Then how far quantiles are off.
--
-- Usage: lua policy.lua [rounds]
-- What it runs for each turn: lua policy.lua run VARIANT

local turns = require "turns";

local labels = { "host", "type", "ip_family" };

-- 100 rules of which the last one is for all that is measured.
local function hundred(last)
	local rules = {};
	for i = 1, 99 do
		rules[i] = { match = "prosody_mod_example" .. i .. "_*", max_series = i, idle_ttl = "1h" };
	end
	last.match = "bench_*";
	rules[100] = last;
	return rules;
end

local variants = {
	{ name = "no rules", config = {} };
	{ name = "100 rules", config = { rule = hundred { max_series = 40000 } } };
	{ name = "idle_ttl", config = { rule = hundred { type = { "gauge", "counter", "histogram", "summary" }, idle_ttl = "1h" } } };
	{ name = "quantiles", config = { rule = hundred { type = { "summary", "histogram" }, quantiles = { 0.5, 0.9, 0.99 } } } };
	{ name = "drop", config = { rule = hundred { drop = true } } };
	{ name = "Prosody's own", provider = "util.statistics" };
};

local cases, case = require "updates"();

case("new series", 2e4, function (registry)
	local family = registry:counter("bench_new", "", "", labels);
	return function (n) for i = 1, n do family:with_labels("example.org", "user" .. i, ""):add(1); end end
end);
case("new label set beyond a limit", 2e4, function (registry)
	local family = registry:counter("bench_limited", "", "", labels);
	for i = 1, 51000 do
		family:with_labels("example.org", "first" .. i, "");
	end
	return function (n) for i = 1, n do family:with_labels("example.org", "user" .. i, ""):add(1); end end
end);
case("registering a family", 2e3, function (registry)
	return function (n) for i = 1, n do registry:gauge("bench_family" .. i, "", "", labels); end end
end);

local function compare(rounds)
	local numbers = {};
	local head, line = { "ns" }, { "---" };
	for number, variant in ipairs(variants) do
		numbers[number] = number;
		table.insert(head, variant.name);
		table.insert(line, "---:");
	end
	local times = turns.medians(rounds, numbers, cases);
	print("| " .. table.concat(head, " | ") .. " |");
	print("| " .. table.concat(line, " | ") .. " |");
	for i, c in ipairs(cases) do
		local row = { c.name };
		for number in ipairs(variants) do
			table.insert(row, ("%.0f"):format(times[number][i]));
		end
		print("| " .. table.concat(row, " | ") .. " |");
	end
end

-- Against sorting, on samples of several shapes.
local function errors()
	local asked = { 0.5, 0.9, 0.99, 0.999 };
	local registry = assert(require "metre".new { rule = { { match = "*", quantiles = asked } } }).metric_registry;
	local random = math.random;
	math.randomseed(1);
	local function normal()
		return math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random());
	end
	local shapes = {
		{ "log-normal, sigma 2.5", function () return math.exp(2.5 * normal()) / 1000; end };
		{ "Pareto, alpha 0.9", function () return 0.001 * (1 - random()) ^ (-1 / 0.9); end };
		{ "exponential", function () return -0.05 * math.log(1 - random()); end };
		{ "2 % at 30 s, the rest at 0.1 ms", function () return random() < 0.02 and 30 + random() or 1e-4 * (1 + random()); end };
	};
	print("| relative error of the quantile, % | p50 | p90 | p99 | p99.9 |");
	print("| --- | ---: | ---: | ---: | ---: |");
	for number, shape in ipairs(shapes) do
		local metric = registry:summary("error" .. number, "", ""):with_labels();
		local samples = {};
		for i = 1, 1e6 do
			samples[i] = shape[2]();
			metric:sample(samples[i]);
		end
		table.sort(samples);
		local row = { shape[1] };
		for _, extra, value in metric:iter_samples() do
			local quantile = extra and tonumber(extra.quantile);
			if quantile then
				local exact = samples[math.ceil(quantile * #samples)];
				table.insert(row, ("%.2f"):format(100 * math.abs(value / exact - 1)));
			end
		end
		print("| " .. table.concat(row, " | ") .. " |");
	end
end

if arg[1] == "run" then
	local variant = variants[tonumber(arg[2])];
	turns.run(cases, function () return assert(require(variant.provider or "metre").new(variant.config)).metric_registry; end);
else
	compare(tonumber(arg[1]) or 5);
	print();
	errors();
end
