-- The calls that modules make most: cases for turn.lua. Each has a name, how often it is run, a function of a registry that
-- returns the function to measure, and perhaps one that tells which providers can't do it.

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };
local ten = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512 };

local function handle(registry, kind, extra)
	return registry[kind](registry, "bench_" .. kind .. (extra and #extra.buckets or ""), "", "", labels, extra)
		:with_labels("example.org", "c2s", "ipv4");
end

-- The cases, and a function that adds one.
return function ()
	local cases = {};
	local function case(name, times, prepare, skip)
		cases[#cases + 1] = { name = name, times = times, prepare = prepare, skip = skip };
	end

	case("counter add", 2e6, function (registry)
		local m = handle(registry, "counter");
		return function (n) for _ = 1, n do m:add(1); end end
	end);
	case("gauge set", 2e6, function (registry)
		local m = handle(registry, "gauge");
		return function (n) for i = 1, n do m:set(i); end end
	end);
	case("summary sample", 2e6, function (registry)
		local m = handle(registry, "summary");
		return function (n) for i = 1, n do m:sample(i); end end
	end);
	case("histogram sample, 7 buckets", 3e5, function (registry)
		local m = handle(registry, "histogram", { buckets = seven });
		return function (n) for i = 1, n do m:sample(i % 100 / 10); end end
	end);
	case("histogram sample, 10 buckets", 3e5, function (registry)
		local m = handle(registry, "histogram", { buckets = ten });
		return function (n) for i = 1, n do m:sample(i % 600); end end
	end);
	case("with_labels of 3 + add", 5e5, function (registry)
		local family = registry:counter("bench_labels", "", "", labels);
		return function (n) for _ = 1, n do family:with_labels("example.org", "c2s", "ipv4"):add(1); end end
	end);
	return cases, case;
end
