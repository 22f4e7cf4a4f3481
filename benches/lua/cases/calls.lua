-- All that modules call on metrics, families and registries.

local cases, case = require "cases.updates"();

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

return cases;
