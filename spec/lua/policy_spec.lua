-- Limits, rules and labels, as modules see them and as they show on the page.

local providers = require "support.providers";

local function provider(config)
	local all = { self_metrics = false, process_metrics = false };
	for key, value in pairs(config) do
		all[key] = value;
	end
	local stats = assert(require "metre".new(all));
	return stats, stats.metric_registry;
end

local function has(page, line)
	return ("\n" .. page):find("\n" .. line .. "\n", 1, true) ~= nil;
end

-- Lets time pass at once. Idle times are looked at twice: when a series was updated last is known from the first look.
local function skip(stats, seconds)
	stats:uncork();
	stats._native.skip(seconds);
	stats:uncork();
	stats:uncork();
end

describe("limits", function ()
	it("let new label sets share a series", function ()
		local _, registry = provider { limits = { max_series_per_family = 3 } };
		local family = registry:counter("c", "", "", { "a", "b" });
		local logged = providers.logged_by(function ()
			for i = 1, 10 do
				family:with_labels("x" .. i, "y"):add(i);
			end
		end);
		assert.same({ "warn: Metric c: new label sets are beyond limits.max_series_per_family and share one series from now on, "
			.. "with 'overflow' as label values; not logged again for this metric" }, logged);
		local page = registry:render();
		assert.truthy(has(page, 'c_total{a="x3",b="y"} 3'));
		assert.falsy(page:find("x4", 1, true));
		assert.truthy(has(page, 'c_total{a="overflow",b="overflow"} 49'));
		-- Those that were there first go on as before.
		family:with_labels("x1", "y"):add(1);
		assert.equal(2, family.data:get("x1", "y").value);
		assert.is_nil(family.data:get("x4", "y"));
		assert.equal(family:with_labels("x5", "y"), family:with_labels("x6", "y"));
	end);

	it("don't keep label values that are too long", function ()
		local stats, registry = provider { limits = { max_label_bytes = 128 }, rule = { { match = "*", type = "counter", idle_ttl = 60 } } };
		local family = registry:counter("c", "", "", { "a" });
		local long = ("x"):rep(1e6);
		local held = {};
		collectgarbage();
		local before = collectgarbage("count");
		for i = 1, 50 do
			held[i] = family:with_labels(long);
			held[i]:add(1);
		end
		assert.equal(held[1], held[50]);
		assert.is_true(collectgarbage("count") - before < 1000);
		stats:uncork();
		assert.truthy(has(registry:render(), 'c_total{a="overflow"} 50'));
	end);

	it("count the samples of histograms and summaries that share a series, and hide gauges that do", function ()
		local _, registry = provider { limits = { max_series_per_family = 1 } };
		local histogram = registry:histogram("h", "", "", { "a" }, { buckets = { 1 } });
		local summary = registry:summary("s", "", "", { "a" });
		local gauge = registry:gauge("g", "", "", { "a" });
		for _, label in ipairs { "1", "2", "3" } do
			histogram:with_labels(label):sample(0.5);
			summary:with_labels(label):sample(2);
			gauge:with_labels(label):set(7);
		end
		local page = registry:render();
		assert.truthy(has(page, 'h_bucket{a="overflow",le="1"} 2'));
		assert.truthy(has(page, 's_sum{a="overflow"} 4'));
		assert.truthy(has(page, 'g{a="1"} 7'));
		assert.falsy(page:find('g{a="overflow"}', 1, true));
		local seen = {};
		for labels in gauge:iter_metrics() do
			table.insert(seen, labels[1]);
		end
		assert.same({ "1" }, seen);
		-- Modules notice nothing.
		local hidden = gauge:with_labels("2");
		hidden:set(3);
		hidden:add(1);
		hidden:reset();
		gauge:clear();
	end);

	it("hold for all families together, but not for metrics without labels", function ()
		local _, registry = provider { limits = { max_series = 2 } };
		registry:counter("a", "", "", { "l" }):with_labels("1"):add(1);
		registry:counter("b", "", "", { "l" }):with_labels("1"):add(1);
		registry:counter("b", "", "", { "l" }):with_labels("2"):add(1);
		registry:counter("plain", "", ""):with_labels():add(5);
		local page = registry:render();
		assert.truthy(has(page, 'b_total{l="overflow"} 1'));
		assert.truthy(has(page, "plain_total 5"));
	end);

	it("hold for the length of label values, from each side", function ()
		local _, registry = provider { limits = { max_label_bytes = 128 } };
		local family = registry:counter("c", "", "", { "a" });
		family:with_labels(("x"):rep(128)):add(1);
		family:with_labels(("x"):rep(129)):add(2);
		-- Three bytes each once they are repaired.
		family:with_labels(("\255"):rep(43)):add(4);
		local page = registry:render();
		assert.truthy(has(page, ('c_total{a="%s"} 1'):format(("x"):rep(128))));
		assert.truthy(has(page, 'c_total{a="overflow"} 6'));
	end);

	it("have families ignored, which modules don't notice", function ()
		local _, registry = provider { limits = { max_families = 2, max_label_bytes = 128 } };
		registry:gauge("a"):with_labels():set(1);
		registry:gauge("b"):with_labels():set(1);
		local logged = providers.logged_by(function ()
			for _ = 1, 3 do
				local family = registry:gauge("c", "", "about c", { "l" });
				family:with_labels("x"):set(1);
				family:with_labels("x"):add(1);
				assert.equal("c", family.family_name);
				assert.equal("gauge", family.type_);
				assert.same({ "l" }, family.label_keys);
				assert.is_nil(family.data:get("x"));
				family:clear();
				for _ in family:iter_metrics() do
					error("nothing in it");
				end
				family:with_partial_label("x"):with_labels():set(1);
			end
			assert.equal(0, registry:counter("d").data.value);
			local histogram = registry:histogram("e", "", "", {}, { buckets = { 1 } });
			histogram:with_labels():sample(1);
			assert.is_nil(histogram:with_labels().set);
			assert.is_nil(registry:gauge("f"):with_labels().sample);
			for _ in registry:summary("g"):with_labels():iter_samples() do
				error("nothing in it");
			end
			registry:gauge(("n"):rep(129));
		end);
		assert.equal("warn: Metric family c is ignored: there are limits.max_families already", logged[1]);
		assert.equal(6, #logged);
		assert.equal("warn: Metric family " .. ("n"):rep(129) .. " is ignored: its name or a label key is longer than limits.max_label_bytes",
			logged[6]);
		assert.is_nil(registry.families.c);
		assert.falsy(registry:render():find("# TYPE c", 1, true));
		-- Those that are there can be replaced, and registered again.
		registry:counter("a"):with_labels():add(1);
		assert.truthy(has(registry:render(), "a_total 1"));
	end);

	it("don't fill the log with the names of families", function ()
		local _, registry = provider { limits = { max_families = 0 } };
		local logged = providers.logged_by(function ()
			for i = 1, 1000 do
				registry:gauge("g" .. i);
			end
		end);
		assert.equal(101, #logged);
		assert.equal("warn: More metric families are ignored, and not logged any more", logged[101]);
	end);

	it("show in metre's own metrics", function ()
		local registry = require "metre".new {
			limits = { max_series_per_family = 1, max_families = 2 }, process_metrics = false;
			rule = { { match = "dropped", drop = true } };
		}.metric_registry;
		for _, name in ipairs { "a", "b", "c", "dropped" } do
			local family = registry:counter(name, "", "", { "l" });
			for i = 1, name == "b" and 1 or 4 do
				family:with_labels(i):add(1);
			end
		end
		local page = registry:render();
		assert.truthy(has(page, 'metre_limited_label_sets_total{family="a",limit="max_series_per_family"} 3'));
		assert.falsy(page:find('family="b"', 1, true));
		assert.truthy(has(page, 'metre_ignored_families_total{reason="max_families"} 1'));
		assert.truthy(has(page, 'metre_ignored_families_total{reason="drop"} 1'));
		assert.truthy(has(page, 'metre_limit{limit="max_series_per_family"} 1'));
	end);
end);

describe("rules", function ()
	it("drop families", function ()
		local _, registry = provider { rule = {
			{ match = "a_*", drop = true };
			{ match = "a_kept", drop = false };
		} };
		local logged = providers.logged_by(function ()
			registry:counter("a/b", "", "", { "l" }):with_labels("x"):add(1);
			registry:counter("a/kept"):with_labels():add(1);
			registry:gauge("b"):with_labels():set(1);
		end);
		assert.same({}, logged);
		local page = registry:render();
		assert.falsy(page:find("a__b", 1, true));
		assert.falsy(page:find("a_b", 1, true));
		assert.truthy(has(page, "b 1"));
	end);

	it("drop the series of some hosts", function ()
		local _, registry = provider { rule = {
			{ match = "*", host = "*.example.org", drop = true };
			{ match = "*", host = "muc.example.org", drop = false };
		} };
		local family = registry:counter("c", "", "", { "host" });
		for i, host in ipairs { "example.org", "a.example.org", "muc.example.org" } do
			family:with_labels(host):add(i);
		end
		local partial = registry:gauge("g", "", "", { "host", "type" }):with_partial_label("a.example.org");
		partial:with_labels("x"):set(1);
		local page = registry:render();
		assert.truthy(has(page, 'c_total{host="example.org"} 1'));
		assert.truthy(has(page, 'c_total{host="muc.example.org"} 3'));
		assert.falsy(page:find('"a.example.org"', 1, true));
		-- Not even where a label is too long.
		family = registry:counter("d", "", "", { "host", "user" });
		family:with_labels("a.example.org", ("x"):rep(2000)):add(1);
		assert.falsy(registry:render():find("d_total", 1, true));
	end);

	it("limit series, those of some hosts by themselves", function ()
		local _, registry = provider { rule = {
			{ match = "c", max_series = 3 };
			{ match = "c", host = "a", max_series = 1 };
		} };
		local family = registry:counter("c", "", "", { "host", "l" });
		for i = 1, 5 do
			family:with_labels("a", i):add(1);
			family:with_labels("b", i):add(1);
		end
		local page = registry:render();
		assert.truthy(has(page, 'c_total{host="a",l="1"} 1'));
		assert.truthy(has(page, 'c_total{host="b",l="3"} 1'));
		assert.truthy(has(page, 'c_total{host="overflow",l="overflow"} 6'));
	end);

	it("replace buckets, and the module's handles work unchanged", function ()
		local _, registry = provider { rule = { { match = "h_seconds", buckets = { 0.1, 1, 60 } } } };
		local given = { 5, 10 };
		local family = registry:histogram("h", "seconds", "", {}, { buckets = given });
		family:with_labels():sample(0.5);
		local page = registry:render();
		assert.truthy(has(page, 'h_seconds_bucket{le="1"} 1'));
		assert.truthy(has(page, 'h_seconds_bucket{le="0.1"} 0'));
		assert.falsy(page:find('le="5"', 1, true));
		assert.same({ 5, 10 }, given);
		assert.equal(4, #family.data);
		assert.equal(60, family.data[3].threshold);
	end);

	it("give summaries quantiles", function ()
		local stats, registry = provider { rule = { { match = "*", type = "summary", quantiles = { 0.5, 0.99 }, quantile_window = "100s" } } };
		local summary = registry:summary("s", "seconds", "", { "l" });
		local metric = summary:with_labels("x");
		for i = 1, 1000 do
			metric:sample(i);
		end
		local page = registry:render();
		local median = tonumber(page:match('\ns_seconds{l="x",quantile="0.5"} (%S+)\n'));
		assert.is_true(math.abs(median / 500 - 1) <= 0.01, tostring(median));
		local high = tonumber(page:match('\ns_seconds{l="x",quantile="0.99"} (%S+)\n'));
		assert.is_true(math.abs(high / 990 - 1) <= 0.01, tostring(high));
		local seen = {};
		for suffix, labels, value in metric:iter_samples() do
			table.insert(seen, suffix .. (labels and labels.quantile or ""));
			if labels and labels.quantile == "0.5" then
				assert.equal(median, value);
			end
		end
		assert.same({ "0.5", "0.99", "_count", "_sum", "_created" }, seen);
		stats._native.skip(200);
		assert.truthy(has(registry:render(), 's_seconds{l="x",quantile="0.5"} NaN'));
		assert.truthy(has(registry:render(), 's_seconds_count{l="x"} 1000'));
		-- The label's name is taken.
		registry:summary("t", "", "", { "quantile" }):with_labels("y"):sample(1);
		assert.truthy(has(registry:render(), 't_count{exported_quantile="y"} 1'));
	end);

	it("give histograms quantiles as a summary beside them, if they name the type", function ()
		local _, registry = provider { rule = {
			{ match = "*", quantiles = { 0.9 } };
			{ match = "h", type = "histogram", quantiles = { 0.5 } };
		} };
		registry:histogram("h", "", "", { "l" }, { buckets = { 1, 10 } }):with_labels("x"):sample(4);
		registry:histogram("other", "", "", {}, { buckets = { 1 } }):with_labels():sample(4);
		local page = registry:render();
		assert.truthy(has(page, "# TYPE h_quantiles summary"));
		local value = tonumber(page:match('\nh_quantiles{l="x",quantile="0.5"} (%S+)\n'));
		assert.is_true(math.abs(value / 4 - 1) <= 0.01, tostring(value));
		assert.falsy(page:find("other_quantiles", 1, true));
		for suffix, labels in registry.families.h:with_labels("x"):iter_samples() do
			if labels and labels.quantile then
				assert.equal("_quantiles", suffix);
			end
		end
		-- A family that comes later doesn't get the same name.
		registry:gauge("h_quantiles"):with_labels():set(1);
		assert.truthy(has(registry:render(), "h_quantiles_2 1"));
	end);

	it("limit how many series have quantiles", function ()
		local _, registry = provider { limits = { max_quantile_series = 1 }, rule = { { match = "*", quantiles = { 0.5 } } } };
		local summary = registry:summary("s", "", "", { "l" });
		for _, label in ipairs { "a", "b" } do
			summary:with_labels(label):sample(1);
		end
		local page = registry:render();
		assert.truthy(page:find('s{l="a",quantile="0.5"}', 1, true));
		assert.falsy(page:find('s{l="b",quantile="0.5"}', 1, true));
		assert.truthy(has(page, 's_count{l="b"} 1'));
		local seen = {};
		for suffix in summary:with_labels("b"):iter_samples() do
			table.insert(seen, suffix);
		end
		assert.same({ "_count", "_sum", "_created" }, seen);
	end);
end);

describe("idle series", function ()
	local hour = { rule = { { match = "*", idle_ttl = "1h" } } };

	it("leave the page, and come back as new ones through the handle that is held", function ()
		local stats, registry = provider(hour);
		local family = registry:summary("s", "", "", { "l" });
		local idle, busy = family:with_labels("idle"), family:with_labels("busy");
		idle:sample(5);
		busy:sample(5);
		skip(stats, 1800);
		busy:sample(5);
		skip(stats, 1900);
		local page = registry:render();
		assert.falsy(page:find("idle", 1, true));
		assert.truthy(has(page, 's_sum{l="busy"} 10'));
		assert.is_nil(family.data:get("idle"));
		local before = family.data:get("busy")._created;
		-- Times of creation are whole milliseconds.
		local start = os.clock();
		repeat until os.clock() - start > 0.002;
		idle:sample(7);
		assert.truthy(has(registry:render(), 's_sum{l="idle"} 7'));
		assert.equal(7, family.data:get("idle")._sum);
		assert.is_true(family.data:get("idle")._created > before);
		-- Handle and series stay together from now on.
		family:with_labels("idle"):sample(1);
		idle:sample(1);
		assert.truthy(has(registry:render(), 's_sum{l="idle"} 9'));
	end);

	it("are those of every type but counters, which must be named", function ()
		local stats, registry = provider { rule = {
			{ match = "*", idle_ttl = "1h" };
			{ match = "gone", type = { "counter" }, idle_ttl = 60 };
		} };
		registry:counter("kept", "", "", { "l" }):with_labels("x"):add(1);
		local gone = registry:counter("gone", "", "", { "l" }):with_labels("x");
		gone:add(1);
		registry:gauge("g"):with_labels():set(1);
		registry:histogram("h", "", "", {}, { buckets = { 1 } }):with_labels():sample(1);
		skip(stats, 3700);
		skip(stats, 3700);
		local page = registry:render();
		assert.truthy(has(page, 'kept_total{l="x"} 1'));
		assert.falsy(page:find("gone", 1, true));
		assert.falsy(page:find("g", 1, true));
		assert.falsy(page:find("h_", 1, true));
		gone:add(2);
		registry.families.g:with_labels():set(3);
		assert.equal(3, registry.families.g.data.value);
		page = registry:render();
		assert.truthy(has(page, 'gone_total{l="x"} 2'));
		assert.truthy(has(page, "g 3"));
	end);

	it("are not kept by clear(), which module call for all of them", function ()
		local stats, registry = provider(hour);
		local family = registry:gauge("g", "", "", { "l" });
		family:with_labels("old"):set(1);
		for _ = 1, 5 do
			skip(stats, 1000);
			stats:cork();
			family:clear();
			family:with_labels("new"):add(1);
			stats:uncork();
		end
		local page = registry:render();
		assert.falsy(page:find("old", 1, true));
		assert.truthy(has(page, 'g{l="new"} 1'));
	end);

	it("make room for others", function ()
		local stats, registry = provider { limits = { max_series_per_family = 10, max_series = 10 }, rule = hour.rule };
		local family = registry:gauge("g", "", "", { "l" });
		local held = {};
		for round = 1, 20 do
			for i = 1, 10 do
				held[i] = family:with_labels(("r%d-%d"):format(round, i) .. ("x"):rep(i * round % 7));
				held[i]:set(i);
			end
			local _, count = registry:render():gsub("\ng{", "");
			assert.equal(10, count);
			skip(stats, 1000);
			skip(stats, 4000);
		end
		assert.falsy(registry:render():find("\ng{", 1, true));
	end);

	it("are read as zero through what somebody still holds", function ()
		local stats, registry = provider(hour);
		local family = registry:histogram("h", "", "", { "l" }, { buckets = { 1, 2 } });
		family:with_labels("x"):sample(1);
		local view = family.data:get("x");
		skip(stats, 4000);
		skip(stats, 4000);
		assert.equal(0, view._count);
		assert.equal(0, view._sum);
		assert.equal(3, #view);
		for _ in view:iter_samples() do end
		view:sample(1);
		assert.equal(1, view._count);
	end);

	it("can be walked while they go", function ()
		local stats, registry = provider(hour);
		local family = registry:gauge("g", "", "", { "l" });
		for i = 1, 2000 do
			family:with_labels(i):set(i);
		end
		skip(stats, 10);
		local seen = 0;
		for labels in family:iter_metrics() do
			seen = seen + 1;
			if seen == 700 then
				stats._native.skip(4000);
				for _ = 1, 5 do
					stats:uncork();
				end
			end
			family:with_labels("new" .. labels[1]):set(1);
			if seen > 5000 then
				break;
			end
		end
		assert.is_true(seen >= 700);
	end);

	it("can be walked while all go and others take their places", function ()
		for seed = 1, 200 do
			math.randomseed(seed);
			local stats, registry = provider(hour);
			local family = registry:gauge("g", "", "", { "l" });
			local function fill(prefix, count)
				for i = 1, count do
					-- Bytes that look like the beginning of a record, should somebody take them for one.
					family:with_labels(prefix .. ("\2\0\0\0\9\0\0\0"):rep(math.random(0, 30)) .. i):set(i);
				end
			end
			fill("old", math.random(3, 30));
			local walk = family:iter_metrics();
			for _ = 1, math.random(1, 3) do
				walk();
			end
			skip(stats, 4000);
			skip(stats, 4000);
			fill("newseries", math.random(1, 60));
			for labels, metric in walk do
				assert.truthy(family.data:get(labels[1]), seed);
				assert.equal(family.data:get(labels[1]).value, metric.value);
			end
		end
	end);

	it("make room for what is held and ran into a limit", function ()
		local stats, registry = provider { limits = { max_series_per_family = 1 }, rule = hour.rule };
		local family = registry:gauge("g", "", "", { "l" });
		family:with_labels("first"):set(1);
		local held = family:with_labels("held");
		held:set(2);
		assert.falsy(registry:render():find("held", 1, true));
		skip(stats, 4000);
		held:set(3);
		skip(stats, 4000);
		held:set(4);
		assert.truthy(has(registry:render(), 'g{l="held"} 4'));
		assert.falsy(registry:render():find("first", 1, true));
	end);

	it("may go while Lua collects what nobody needs", function ()
		local stats, registry = provider { rule = { { match = "*", type = "counter", idle_ttl = 1 } } };
		local family = registry:counter("c", "", "", { "a", "b" });
		-- Each of these lets series go as soon as it is collected, in the middle of anything that allocates.
		local function pull()
			local function go()
				stats._native.skip(1);
				stats:uncork();
			end
			if rawget(_G, "newproxy") then
				getmetatable(newproxy(true)).__gc = go; -- luacheck: ignore 113
			else
				setmetatable({}, { __gc = go });
			end
		end
		for round = 1, 300 do
			pull();
			local metric = family:with_labels("x" .. round % 7, "y");
			pull();
			metric:add(1);
			for labels, view in family:iter_metrics() do
				assert.equal(2, #labels);
				assert.truthy(labels[1]:match("^x%d$"), labels[1]);
				pull();
				view:add(1);
			end
			if round % 50 == 0 then
				collectgarbage();
			end
		end
		assert.falsy(registry:render():find('a=""', 1, true));
	end);

	it("go in turns, so that no family waits for others", function ()
		local stats, registry = provider { limits = { max_series_per_family = 100000 }, rule = { { match = "*", idle_ttl = 1 } } };
		for number = 1, 4 do
			local family = registry:gauge("g" .. number, "", "", { "l" });
			for i = 1, 15000 do
				family:with_labels(i):set(i);
			end
		end
		local logged = providers.logged_by(function ()
			for _ = 1, 30 do
				stats._native.skip(1);
				stats:uncork();
			end
		end);
		assert.same({}, logged);
		assert.falsy(registry:render():find("# TYPE g", 1, true));
	end);

	it("show in metre's own metrics", function ()
		local stats = require "metre".new { process_metrics = false, rule = hour.rule };
		local registry = stats.metric_registry;
		registry:gauge("g", "", "", { "l" }):with_labels("x"):set(1);
		skip(stats, 4000);
		skip(stats, 4000);
		assert.truthy(has(registry:render(), 'metre_expired_series_total{family="g"} 1'));
		assert.truthy(has(registry:render(), 'metre_series{type="gauge"} 0') or registry:render():find('metre_series{type="gauge"}', 1, true));
	end);
end);

describe("labels", function ()
	it("are on every series, metre's own as well", function ()
		local registry = require "metre".new { labels = { cluster = "eu\n1", zone = "a" }, process_metrics = false }.metric_registry;
		registry:counter("c", "", "", { "l" }):with_labels("x"):add(1);
		registry:gauge("g"):with_labels():set(1);
		registry:histogram("h", "", "", {}, { buckets = { 1 } }):with_labels():sample(1);
		local page = registry:render();
		assert.truthy(has(page, 'c_total{l="x",cluster="eu\\n1",zone="a"} 1'));
		assert.truthy(has(page, 'g{cluster="eu\\n1",zone="a"} 1'));
		assert.truthy(has(page, 'h_bucket{cluster="eu\\n1",zone="a",le="1"} 1'));
		for line in page:gmatch("[^\n]+") do
			assert.truthy(line:match("^#") or line:find('cluster="eu\\n1",zone="a"', 1, true), line);
		end
	end);

	it("can't clash with a family's own", function ()
		local _, registry = provider { labels = { cluster = "eu1" } };
		local logged = providers.logged_by(function ()
			registry:gauge("g", "", "", { "cluster", "exported_cluster" }):with_labels("x", "y"):set(1);
		end);
		assert.truthy(has(registry:render(), 'g{exported_cluster="x",exported_cluster_2="y",cluster="eu1"} 1'));
		assert.equal(1, #logged);
		assert.same({ "cluster", "exported_cluster" }, registry.families.g.label_keys);
		-- Nor by the names that this makes.
		_, registry = provider { labels = { l = "x", exported_l = "y", exported_l_2 = "z", exported_le = "v" } };
		registry:gauge("g", "", "", { "l" }):with_labels("a"):set(1);
		registry:histogram("h", "", "", { "le" }, { buckets = { 1 } }):with_labels("a"):sample(1);
		local page = registry:render();
		assert.truthy(has(page, 'g{exported_l_3="a",exported_l="y",exported_l_2="z",exported_le="v",l="x"} 1'));
		assert.truthy(has(page, 'h_count{exported_le_2="a",exported_l="y",exported_l_2="z",exported_le="v",l="x"} 1'));
	end);
end);

describe("explain", function ()
	it("says what a family gets, and from which rule", function ()
		local _, registry = provider { rule = { { match = "prosody_*", max_series = 7 } } };
		registry:gauge("prosody_mod_c2s/connections", "", "", { "host" });
		local told = registry:explain("prosody_mod_c2s/connections");
		assert.truthy(told:find("prosody_mod_c2s__connections as a gauge:\n", 1, true));
		assert.truthy(told:find("max_series = 7    (rule 1)\n", 1, true));
		assert.truthy(registry:explain("x"):find("x as a gauge or counter:\n", 1, true));
		assert.truthy(registry:explain("x", "nonsense"):find("no type is called nonsense", 1, true));
		assert.truthy(registry:explain("prosody_mod_c2s__connections"):find("as a gauge:\n", 1, true));
		assert.truthy(registry:explain(nil):find("the name of a metric family expected", 1, true));
		assert.truthy(registry:explain("x*"):find("not a pattern", 1, true));
		_, registry = provider { limits = { max_families = 0 } };
		registry:gauge("g");
		assert.truthy(registry:explain("g"):find("ignored: there are limits.max_families already\n", 1, true));
	end);
end);
