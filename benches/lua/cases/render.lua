-- The whole page, for a registry that holds one family: nanoseconds a series.

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };

local function case(name, series, fill)
	return {
		name = name;
		times = series;
		prepare = function (_, new_registry)
			local registry = new_registry();
			fill(registry, series);
			registry:render(); -- once to grow what is used again
			return function () registry:render(); end
		end;
	};
end

return {
	case("a counter of 3 labels", 5e4, function (registry, series)
		local family = registry:counter("bench_render", "", "", labels);
		for i = 1, series do
			family:with_labels("example.org", "c2s", "user" .. i):add(i);
		end
	end);
	case("a 7-bucket histogram", 5e3, function (registry, series)
		local family = registry:histogram("bench_render", "", "", labels, { buckets = seven });
		for i = 1, series do
			family:with_labels("example.org", "c2s", "user" .. i):sample(i / 100);
		end
	end);
};
