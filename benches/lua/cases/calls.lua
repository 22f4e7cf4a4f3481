-- All that modules call on metrics, families and registries.

local cases, case = require "cases.updates"();

local labels = { "host", "type", "ip_family" };

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

return cases;
