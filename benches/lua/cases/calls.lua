-- All that modules call on metrics, families and registries.

local cases, case = require "cases.updates"();

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };

-- The plain binding has neither fields nor iteration.
local function is_binding(provider)
	return provider == "binding";
end

case("partial label + 2 + add", 5e5, function (registry)
	local family = registry:counter("bench_partial", "", "", labels):with_partial_label("example.org");
	return function (n) for _ = 1, n do family:with_labels("c2s", "ipv4"):add(1); end end
end);
case("field read", 1e6, function (registry)
	local family = registry:gauge("bench_read", "", "");
	return function (n) for _ = 1, n do local _ = family.data.value; end end
end, is_binding);
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
end, is_binding);

-- In random order, the same for all providers.
case("with_labels of any of 100,000 + add", 1e5, function (_, new_registry)
	local registry = new_registry { limits = { max_series = 1e6, max_series_per_family = 1e6 } };
	local family = registry:counter("bench_any", "", "", { "host", "user" });
	for i = 1, 1e5 do
		family:with_labels("example.org", "user" .. i):add(1);
	end
	math.randomseed(1);
	local users = {};
	for i = 1, 1e5 do
		users[i] = "user" .. math.random(1e5);
	end
	return function (n) for i = 1, n do family:with_labels("example.org", users[i]):add(1); end end
end);

-- Pages of few series, once they are warm; benches/render.py has large ones.
local function page(name, series, kind, update, extra)
	case(name, 10 * series, function (_, new_registry)
		local registry = new_registry { self_metrics = false, process_metrics = false };
		local family = registry[kind](registry, "bench_page", "", "", labels, extra);
		for i = 1, series do
			local metric = family:with_labels("example.org", "c2s", "user" .. i);
			metric[update](metric, i / 10);
		end
		registry:render();
		return function () for _ = 1, 10 do registry:render(); end end
	end, is_binding);
end
page("page, a counter series of 3 labels", 1000, "counter", "add");
page("page, a 7-bucket histogram", 200, "histogram", "sample", { buckets = seven });

return cases;
