-- metre against Prosody's own provider, side by side and turn by turn. Medians.
--
-- Usage: lua providers.lua [rounds]
-- What it runs for each turn: lua providers.lua run util.statistics|metre

local turns = require "turns";

local cases, case = require "updates"();

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };

case("partial label + 2 + add", 5e5, function (registry)
	local family = registry:counter("bench_partial", "", "", labels):with_partial_label("example.org");
	return function (n) for _ = 1, n do family:with_labels("c2s", "ipv4"):add(1); end end
end);
case("field read", 1e6, function (registry)
	local family = registry:gauge("bench_read", "", "");
	return function (n) for _ = 1, n do local _ = family.data.value; end end
end);
case("new series of 2 labels", 2e4, function (registry)
	local family = registry:counter("bench_new", "", "", { "host", "user" });
	local i = 0;
	return function (n)
		for _ = 1, n do
			i = i + 1;
			family:with_labels("example.org", "user" .. i):add(1);
		end
	end
end);
case("iter_metrics and iter_samples, a series", 2e4, function (registry)
	local family = registry:counter("bench_walk", "", "", labels);
	for i = 1, 2e4 do
		family:with_labels("example.org", "c2s", "user" .. i):add(i);
	end
	return function ()
		for _, metric in family:iter_metrics() do
			for _ in metric:iter_samples() do end -- luacheck: ignore 542
		end
	end
end);

-- Rendering is measured on a registry that holds nothing else.
local function render_case(name, series, fill)
	case(name, series, function (_, new_registry)
		local registry = new_registry();
		fill(registry, series);
		registry:render(); -- once to grow what is used again
		return function () registry:render(); end
	end);
end
render_case("render, a counter series of 3 labels", 2e4, function (registry, series)
	local family = registry:counter("bench_render", "", "", labels);
	for i = 1, series do
		family:with_labels("example.org", "c2s", "user" .. i):add(i);
	end
end);
render_case("render, a 7-bucket histogram", 2e3, function (registry, series)
	local family = registry:histogram("bench_render", "", "", labels, { buckets = seven });
	for i = 1, series do
		family:with_labels("example.org", "c2s", "user" .. i):sample(i / 100);
	end
end);

local function compare(rounds)
	local providers = { "util.statistics", "metre" };
	local times = turns.medians(rounds, providers, cases);
	print(("| %-40s | %10s | %8s | %6s |"):format("ns", "Prosody's", "metre", "ratio"));
	print("| --- | ---: | ---: | ---: |");
	for i, c in ipairs(cases) do
		local theirs, ours = times[1][i], times[2][i];
		print(("| %-40s | %10.0f | %8.0f | %6.2f |"):format(c.name, theirs, ours, theirs / ours));
	end
end

if arg[1] == "run" then
	turns.run(cases, function () return assert(require(arg[2]).new()).metric_registry; end);
else
	compare(tonumber(arg[1]) or 7);
end
