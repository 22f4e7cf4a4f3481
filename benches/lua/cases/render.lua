-- The whole page, for a registry that holds one family: nanoseconds a series.

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };

local pages = 3;

local function case(name, series, fill)
	return {
		name = name;
		times = pages * series;
		prepare = function (_, new_registry)
			local registry = new_registry();
			fill(registry, series);
			-- Whoever is scraped has been scraped before. The first pages are slower, until malloc keeps memory for them.
			for _ = 1, 8 do
				registry:render();
			end
			return function () for _ = 1, pages do registry:render(); end end
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
