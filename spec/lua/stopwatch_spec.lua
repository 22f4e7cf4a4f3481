-- Durations that are taken natively: now(), and the functions of stop_of().

local metre = require "metre";
local native = require "metre.native";
local unpack = table.unpack or unpack; -- luacheck: ignore 143 113

local function histogram(config, labels)
	local registry = assert(metre.new(config or {})).metric_registry;
	local family = registry:histogram("took", "seconds", "", labels or {}, { buckets = { 0.5, 10 } });
	return family, family:with_labels(unpack(labels or {}));
end

local function collect(...)
	return { n = select("#", ...), ... };
end

describe("a stopwatch", function ()
	it("puts the time since it began into a histogram", function ()
		local family, metric = histogram();
		local stop = native.stop_of(metric);
		local began = native.now();
		stop(began);
		stop(began - 1);
		stop(began - 100);
		assert.same({ 1, 2, 3 }, { family.data[1].count, family.data[2].count, family.data._count });
		assert.is_true(family.data._sum >= 101 and family.data._sum < 101 + 3 * (native.now() - began) + 0.001);
	end);

	it("takes any object that stands for a histogram", function ()
		for _, config in ipairs { {}, { rule = { { match = "took_seconds", idle_ttl = "1h", quantiles = { 0.5 } } } } } do
			local family, metric = histogram(config, { "host" });
			native.stop_of(metric)(native.now());
			native.stop_of(family.data:get("host"))(native.now());
			for _, view in family:iter_metrics() do
				native.stop_of(view)(native.now());
			end
			assert.equal(3, family.data:get("host")._count);
		end
	end);

	it("hands on all that follows, whatever it is", function ()
		local _, metric = histogram();
		local stop = native.stop_of(metric);
		assert.same({ n = 0 }, collect(stop(native.now())));
		assert.same({ n = 3 }, collect(stop(native.now(), nil, nil, nil)));
		assert.same({ n = 4, nil, "x", false, nil }, collect(stop(native.now(), nil, "x", false, nil)));
		local many = {};
		for i = 1, 200 do
			many[i] = i;
		end
		assert.same(many, { stop(native.now(), unpack(many)) });
	end);

	it("tells of what begins with nothing and an error", function ()
		local _, metric = histogram();
		local told = {};
		local stop = native.stop_of(metric, function (...)
			table.insert(told, collect(...));
		end);
		assert.same({ n = 3, nil, "gone", 3 }, collect(stop(native.now(), nil, "gone", 3)));
		stop(native.now(), false, 7);
		assert.same({ { n = 1, "gone" }, { n = 1, 7 } }, told);
		for _, results in ipairs { { n = 1, true }, { n = 2, 0, "x" }, { n = 1 }, { n = 2 } } do
			stop(native.now(), unpack(results, 1, results.n));
		end
		assert.equal(2, #told);
		stop = native.stop_of(metric, function () error({}); end);
		assert.same({ n = 2, nil, "gone" }, collect(stop(native.now(), nil, "gone")));
	end);

	it("can be used in a coroutine, after it has waited", function ()
		local family, metric = histogram();
		local stop = native.stop_of(metric);
		local thread = coroutine.wrap(function ()
			return stop(native.now(), coroutine.yield("waits"));
		end);
		assert.equal("waits", thread());
		assert.equal("done", thread("done"));
		assert.equal(1, family.data._count);
	end);

	it("outlives what it was made of", function ()
		local family, metric = histogram();
		local stop = native.stop_of(metric);
		metric = nil; -- luacheck: ignore 311
		collectgarbage();
		collectgarbage();
		stop(native.now());
		assert.equal(1, family.data._count);
	end);

	it("refuses what is no histogram and no time", function ()
		local family, metric = histogram();
		local registry = assert(metre.new({})).metric_registry;
		local counter = registry:counter("c"):with_labels();
		for _, value in ipairs { 1, "x", {}, counter, function () end, io.stdout } do
			local ok, err = pcall(native.stop_of, value);
			assert.is_false(ok);
			assert.truthy(err:find("metre: a histogram expected", 1, true), err);
		end
		assert.is_false(pcall(native.stop_of));
		local stop = native.stop_of(metric, "no function");
		assert.same({ n = 2, nil, "x" }, collect(stop(native.now(), nil, "x")));
		for _, value in ipairs { "1", {}, false } do
			local ok, err = pcall(stop, value);
			assert.is_false(ok);
			assert.truthy(err:find("metre: a time of now() expected", 1, true), err);
		end
		assert.is_false(pcall(stop));
		assert.equal(1, family.data._count);
	end);
end);
