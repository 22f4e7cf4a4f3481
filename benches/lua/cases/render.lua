-- The whole page, for a registry that holds one family of a module (and, of metre's, its own): nanoseconds a series.

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };

local function case(name, series, fill)
	local pages = series < 5e3 and 60 or 3;
	return {
		name = name;
		times = pages * series;
		prepare = function (_, new_registry)
			local registry = new_registry();
			fill(registry, series);
			local function render(times)
				for _ = 1, times do
					registry:render();
				end
			end
			-- Whoever is scraped has been scraped before. The first pages take up to three times as long, until malloc keeps
			-- memory for them.
			return function () render(pages); end, function () render(8); end
		end;
	};
end

local function counters(registry, series)
	local family = registry:counter("bench_render", "", "", labels);
	for i = 1, series do
		family:with_labels("example.org", "c2s", "user" .. i):add(i);
	end
end

return {
	case("a counter of 3 labels, of 1,000", 1e3, counters);
	case("a counter of 3 labels, of 50,000", 5e4, counters);
	case("a 7-bucket histogram, of 5,000", 5e3, function (registry, series)
		local family = registry:histogram("bench_render", "", "", labels, { buckets = seven });
		for i = 1, series do
			family:with_labels("example.org", "c2s", "user" .. i):sample(i / 100);
		end
	end);
	-- The last case: the files stay open.
	case("a counter of 3 labels, of 1,000, with 5,000 open files", 1e3, function (registry, series)
		for i = 1, 5e3 do
			registry["file " .. i] = assert(io.open("/dev/null"));
		end
		counters(registry, series);
	end);
};
