-- Families of metre's own, whose series go when they are told to.

local native = require "metre.native";
local register = require "metre.registry".register;

local buckets = { buckets = { 1, 2 } };

local function provider(config)
	local all = { self_metrics = false, process_metrics = false };
	for key, value in pairs(config or {}) do
		all[key] = value;
	end
	local stats = assert(require "metre".new(all));
	return stats, stats.metric_registry;
end

local function own(registry, kind, name, labels)
	return register(registry, kind, name, "", "Help", labels or { "host", "result" }, buckets, { leaves = true, uncreated = true });
end

local function use(metric)
	(metric.add or metric.sample or metric.set)(metric, 1);
end

-- How many samples of this host the page has.
local function count(registry, host)
	local _, found = registry:render():gsub('host="' .. host .. '"', "");
	return found;
end

-- How many each type has for a series.
local samples = { gauge = 1, counter = 1, histogram = 5, summary = 2 };

local function raises(...)
	local ok, err = pcall(native.forget, ...);
	assert.is_false(ok);
	assert.equal("string", type(err));
end

describe("series of a value", function ()
	it("go at once, and come again with the next update", function ()
		for kind, each in pairs(samples) do
			local stats, registry = provider();
			local family = own(registry, kind, "x");
			assert.equal(family, registry.families.x);
			local held = { family:with_labels("a", "ok"), family:with_labels("a", "b"), family:with_labels("b", "ok") };
			for _, metric in ipairs(held) do
				use(metric);
			end
			assert.same({ 2 * each, each }, { count(registry, "a"), count(registry, "b") });
			assert.equal(2, native.forget(family._native, 1, "a"));
			assert.same({ 0, each }, { count(registry, "a"), count(registry, "b") });
			assert.is_nil(family.data:get("a", "ok"));
			assert.equal(0, native.forget(family._native, 1, "a"));
			use(held[1]);
			assert.same({ each, each }, { count(registry, "a"), count(registry, "b") });
			-- It begins at nothing.
			local view = family.data:get("a", "ok");
			assert.equal(1, view.value or view._count);
			assert.equal(2, native.forget(family._native, 2, "ok"));
			assert.falsy(registry:render():find("\nx", 1, true));
			-- Nobody's idle time ends.
			use(held[1]);
			for _ = 1, 3 do
				stats:uncork();
				stats._native.skip(1e6);
			end
			assert.equal(each, count(registry, "a"));
		end
	end);

	it("go even in the middle of a collection", function ()
		local stats, registry = provider();
		local family = own(registry, "gauge", "x");
		family:with_labels("a", "ok"):set(1);
		family:with_labels("b", "ok"):set(1);
		stats:cork();
		family:clear();
		family:with_labels("a", "ok"):add(1);
		family:with_labels("a", "failed"):add(1);
		family:with_labels("b", "ok"):add(7);
		assert.equal(2, native.forget(family._native, 1, "a"));
		assert.same({ 0, 1 }, { count(registry, "a"), count(registry, "b") });
		stats:uncork();
		assert.same({ 0, 1 }, { count(registry, "a"), count(registry, "b") });
		assert.truthy(registry:render():find('\nx{host="b",result="ok"} 7\n', 1, true));
	end);

	it("may go while they are walked", function ()
		local _, registry = provider();
		local family = own(registry, "counter", "x");
		for number = 1, 20 do
			family:with_labels("h" .. number % 2, number):add(1);
		end
		local seen = 0;
		for labels, metric in family:iter_metrics() do
			native.forget(family._native, 1, "h0");
			assert.equal(1, metric.value);
			assert.equal("h1", labels[1]);
			seen = seen + 1;
		end
		assert.equal(10, seen);
	end);

	it("don't count as those whose idle time is over", function ()
		local _, registry = provider { self_metrics = true };
		local family = own(registry, "gauge", "x");
		family:with_labels("a", "ok"):set(1);
		assert.equal(1, native.forget(family._native, 1, "a"));
		assert.falsy(registry:render():find("metre_expired_series_total{", 1, true));
		-- A rule may give them an idle time all the same.
		local stats;
		stats, registry = provider { self_metrics = true, rule = { { match = "x", idle_ttl = 10 } } };
		own(registry, "gauge", "x"):with_labels("a", "ok"):set(1);
		for _ = 1, 3 do
			stats:uncork();
			stats._native.skip(100);
		end
		assert.truthy(registry:render():find('metre_expired_series_total{family="x"} 1', 1, true));
	end);

	it("stay in families of modules, and where there is no such label", function ()
		local _, registry = provider { labels = { cluster = "eu1" }, rule = { { match = "dropped", drop = true } } };
		local module = registry:gauge("module", "", "", { "host" });
		module:with_labels("a"):set(1);
		local family = own(registry, "gauge", "x");
		family:with_labels("a", "ok"):set(1);
		assert.equal(0, native.forget(module._native, 1, "a"));
		for _, given in ipairs { { 3, "eu1" }, { 0, "a" }, { -1, "a" }, { 1.5, "a" }, { 1e300, "a" }, { 0 / 0, "a" }, { 1, "" }, { 1, "A" } } do
			assert.equal(0, native.forget(family._native, given[1], given[2]));
		end
		assert.equal(2, count(registry, "a"));
		local plain = own(registry, "counter", "plain", {});
		assert.equal(0, native.forget(plain._native, 1, ""));
		-- What a rule drops has no native side.
		assert.equal(0, native.forget(own(registry, "gauge", "dropped")._native, 1, "a"));
	end);

	it("are told by calls that are in order", function ()
		local _, registry = provider();
		local family = own(registry, "gauge", "x");
		local metric = family:with_labels("a", "ok");
		metric:set(1);
		for _, other in ipairs { 1, "x", true, {}, print, io.stdout, metric, family, family.data } do
			raises(other, 1, "a");
		end
		for _, position in ipairs { "x", true, {}, print } do
			raises(family._native, position, "a");
		end
		for _, value in ipairs { 1, true, {}, print } do
			raises(family._native, 1, value);
		end
		raises(family._native, 1);
		raises(family._native);
		raises();
		assert.equal(0, native.forget(nil, 1, "a"));
		assert.equal(1, count(registry, "a"));
	end);

	it("have no times of creation on the page", function ()
		local _, registry = provider();
		own(registry, "counter", "x"):with_labels("a", "ok"):add(1);
		own(registry, "histogram", "y"):with_labels("a", "ok"):sample(1);
		registry:counter("z"):with_labels():add(1);
		local page = registry:render();
		assert.falsy(page:find("[xy]_created"));
		assert.truthy(page:find("\nz_created", 1, true));
	end);
end);

describe("the provider", function ()
	it("tells what the operator wants to be gathered", function ()
		local function operator(given)
			return (provider { operator = given })._native.operator;
		end
		local default = {
			stanzas = true, processing = true, storage = true, remotes = 10, certificates = true, bytes = false, active_users = false,
		};
		assert.same(default, operator(nil));
		assert.same(default, operator(true));
		assert.same(default, operator("true"));
		assert.same(default, operator({}));
		for _, off in ipairs { false, "false", { enabled = false }, { enabled = "false", remotes = 3 } } do
			assert.is_false(operator(off));
		end
		assert.is_false(operator(false));
		local other = operator { storage = false, remotes = "0", bytes = true, slow_log = "500ms" };
		assert.same({ false, 0, true, 0.5 }, { other.storage, other.remotes, other.bytes, other.slow_log });
		assert.is_nil(operator({ slow_log = false }).slow_log);
		local stats, why = require "metre".new { operator = { remots = 3 } };
		assert.is_nil(stats);
		assert.truthy(why:find("unknown key 'operator.remots' (given: the number 3); did you mean 'remotes'?", 1, true), why);
	end);

	it("counts faults in what it hooks", function ()
		local stats, registry = provider { self_metrics = true };
		local function counted()
			return tonumber(registry:render():match('metre_internal_errors_total{at="operator.x"} (%d+)') or 0);
		end
		local before = counted();
		stats._native.fault("operator.x");
		stats._native.fault("operator.x");
		assert.equal(before + 2, counted());
		for _, other in ipairs { 1.5, true, {} } do
			local nothing, why = stats._native.fault(other);
			assert.is_nil(nothing);
			assert.equal("string", type(why));
		end
		-- However many are made up, the page has a bound.
		for number = 1, 300 do
			assert.is_nil((stats._native.fault(("y"):rep(200) .. number)));
		end
		local page = registry:render();
		assert.falsy(page:find(("y"):rep(101), 1, true));
		assert.is_true(select(2, page:gsub("metre_internal_errors_total{", "")) <= 100);
	end);
end);

describe("explain", function ()
	it("knows the types of metre's own families", function ()
		local families = require "metre.operator.families";
		local _, registry = provider();
		for name, family in pairs(families) do
			assert.truthy(registry:explain(name):find(name .. " as a " .. family.type .. ":\n", 1, true), name);
			local total = registry:explain(name .. "_total");
			assert.equal(family.type == "counter", total:find("_total as a counter:\n", 1, true) ~= nil, total);
		end
		-- What a module has registered comes first, and then what is asked for.
		local name, family = next(families);
		local other = family.type == "gauge" and "counter" or "gauge";
		assert.truthy(registry:explain(name, other):find(" as a " .. other .. ":\n", 1, true));
		registry[other](registry, name);
		assert.truthy(registry:explain(name):find(" as a " .. other .. ":\n", 1, true));
	end);
end);
