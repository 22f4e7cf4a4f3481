-- The surface that Prosody and its modules use, item by item.

local pages = require "support.pages";
local providers = require "support.providers";

local has_integers = math.type ~= nil;

-- A new list each time, since Prosody's own registry appends to it.
local function with_buckets()
	return { buckets = { 0.1, 1, 10 } };
end

local function samples_of(metric)
	local samples = {};
	for suffix, extra, value in metric:iter_samples() do
		samples[suffix .. (extra and "{" .. extra.le .. "}" or "")] = value;
	end
	return samples;
end

describe("the provider", function ()
	it("has the names that Prosody looks for", function ()
		local library = require "metre";
		assert.equal("metre", library._NAME);
		local stats = library.new();
		assert.is_table(stats.metric_registry);
		for _, method in ipairs { "cork", "uncork", "flush", "close" } do
			assert.is_function(stats[method]);
		end
	end);

	it("works in a plain Lua process, to the end and beyond", function ()
		local stats = require "metre".new();
		stats:uncork();
		assert.is_true(stats:flush());
		stats:close();
		stats:close();
		assert.is_true(stats:flush());
		stats.metric_registry:counter("after"):with_labels():add(1);
		assert.truthy(stats.metric_registry:render():find("after_total 1\n", 1, true));
	end);

	it("keeps two providers apart", function ()
		local one, other = providers.metre(), providers.metre();
		one:gauge("g"):with_labels():set(1);
		other:gauge("g"):with_labels():set(2);
		assert.equal(1, one.families.g.data.value);
		assert.equal(2, other.families.g.data.value);
	end);
end);

describe("corking", function ()
	it("keeps half-counted gauges from the page, and from nobody else", function ()
		local stats = require "metre".new();
		local family = stats.metric_registry:gauge("sessions", "", "", { "host" });
		family:with_labels("a"):set(3);
		stats:cork();
		family:clear();
		family:with_labels("a"):add(1);
		family:with_labels("new"):add(1.5);
		assert.equal(1, family.data:get("a").value);
		local page = stats.metric_registry:render();
		assert.truthy(page:find('sessions{host="a"} 3\n', 1, true), page);
		assert.is_nil(page:find('host="new"', 1, true), page);
		stats:uncork();
		stats:uncork();
		page = stats.metric_registry:render();
		assert.truthy(page:find('sessions{host="a"} 1\n', 1, true), page);
		assert.truthy(page:find('sessions{host="new"} 1.5\n', 1, true), page);
		family:with_labels("a"):add(1);
		assert.truthy(stats.metric_registry:render():find('sessions{host="a"} 2\n', 1, true));
	end);
end);

for _, name in ipairs { "metre", "prosody" } do
	local function fresh()
		return providers[name]();
	end

	-- The same for both: what holds for Prosody's own objects has to hold for metre's.
	describe("the registry of " .. name, function ()
		it("adds the unit to the name", function ()
			local family = fresh():gauge("size", "bytes", "Size", { "host" }, {});
			assert.equal("size_bytes", family.family_name);
			assert.equal("bytes", family.unit);
			assert.equal("Size", family.description);
			assert.equal("gauge", family.type_);
			assert.same({ "host" }, family.label_keys);
			assert.equal(1, family.user_labels);
			assert.same({}, family.extra);
			assert.equal("plain", fresh():gauge("plain", "").family_name);
		end);

		it("gives the same family again, with its values", function ()
			local registry = fresh();
			local first = registry:counter("x", "", "", { "host" });
			first:with_labels("a"):add(5);
			local second = registry:counter("x", "", "other text", { "host" });
			assert.equal(first, second);
			assert.equal(5, second.data:get("a").value);
		end);

		it("replaces a family of another type or with other keys, and old handles go on", function ()
			local registry = fresh();
			local old = registry:counter("x", "", "", { "host" });
			local handle = old:with_labels("a");
			local new = registry:counter("x", "", "", { "host", "type" });
			assert.not_equal(old, new);
			assert.equal(new, registry.families.x);
			handle:add(1);
			assert.equal(1, old.data:get("a").value);
			assert.is_nil(new.data:get("a", "b"));
			local gauge = registry:gauge("x", "", "", { "host", "type" });
			assert.equal("gauge", registry.families.x.type_);
			assert.equal(gauge, registry.families.x);
		end);

		it("has its families in a real table", function ()
			local registry = fresh();
			assert.equal(registry.families, registry:get_metric_families());
			local family = registry:gauge("prosody_mod_c2s/connections");
			registry:gauge("other");
			assert.equal(family, registry.families["prosody_mod_c2s/connections"]);
			local names = {};
			for family_name in pairs(registry.families) do
				table.insert(names, family_name);
			end
			table.sort(names);
			assert.same({ "other", "prosody_mod_c2s/connections" }, names);
		end);

		it("needs buckets for a histogram", function ()
			local registry = fresh();
			assert.has_error(function () registry:histogram("h"); end);
			assert.has_error(function () registry:histogram("h", "", "", {}, {}); end);
			local _, message = pcall(registry.histogram, registry, "h");
			assert.truthy(tostring(message):find("no buckets given for histogram metric", 1, true));
		end);
	end);

	describe("a family of " .. name, function ()
		it("gives the same metric for the same labels", function ()
			local family = fresh():counter("x", "", "", { "a", "b" });
			local metric = family:with_labels("1", "2");
			assert.equal(metric, family:with_labels("1", "2"));
			assert.not_equal(metric, family:with_labels("2", "1"));
			assert.equal(metric, family:with_partial_label("1"):with_labels("2"));
			collectgarbage();
			collectgarbage();
			assert.equal(metric, family:with_labels("1", "2"));
		end);

		it("tells labels apart by their borders", function ()
			local family = fresh():counter("x", "", "", { "a", "b" });
			family:with_labels("ab", "c"):add(1);
			family:with_labels("a", "bc"):add(2);
			assert.equal(1, family.data:get("ab", "c").value);
			assert.equal(2, family.data:get("a", "bc").value);
		end);

		it("wants as many labels as it has keys", function ()
			local family = fresh():counter("x", "", "", { "a", "b" });
			local expected = "number of labels passed to with_labels does not match number of label keys";
			for _, call in ipairs {
				function () family:with_labels("1"); end;
				function () family:with_labels("1", "2", "3"); end;
				function () family:with_labels(); end;
				function () family:with_partial_label("1"):with_labels(); end;
				function () family:with_partial_label("1"):with_labels("2", "3"); end;
			} do
				local ok, message = pcall(call);
				assert.is_false(ok);
				assert.equal("string", type(message));
				assert.truthy(message:find(expected, 1, true));
			end
		end);

		it("walks its metrics with their labels in order", function ()
			local family = fresh():gauge("x", "", "", { "a", "b" });
			family:with_labels("1", "2"):set(12);
			family:with_labels("3", "4"):set(34);
			local seen = {};
			for labels, metric in family:iter_metrics() do
				assert.equal(2, #labels);
				assert.equal(2, labels.n);
				local values = {};
				for _, value in ipairs(labels) do
					table.insert(values, value);
				end
				seen[table.concat(values, "/")] = metric.value;
				local keys = 0;
				for _ in pairs(labels) do
					keys = keys + 1;
				end
				assert.equal(3, keys);
			end
			assert.same({ ["1/2"] = 12, ["3/4"] = 34 }, seen);
		end);

		it("has one metric without labels", function ()
			local family = fresh():gauge("x");
			family:with_labels():set(7);
			assert.equal(7, family.data.value);
			local count = 0;
			for labels, metric in family:iter_metrics() do
				count = count + 1;
				assert.same({}, labels);
				assert.is_nil(next(labels));
				assert.equal(7, metric.value);
			end
			assert.equal(1, count);
		end);

		it("clears all and forgets none", function ()
			local registry = fresh();
			local gauge = registry:gauge("g", "", "", { "a" });
			local histogram = registry:histogram("h", "", "", { "a" }, with_buckets());
			local metric = gauge:with_labels("1");
			metric:set(3);
			histogram:with_labels("1"):sample(3);
			gauge:clear();
			histogram:clear();
			assert.equal(0, gauge.data:get("1").value);
			assert.equal(0, histogram.data:get("1")._count);
			assert.equal(metric, gauge:with_labels("1"));
		end);

		it("reads a metric by its labels without making one", function ()
			local family = fresh():counter("x", "", "", { "host" });
			assert.is_nil(family.data:get("a"));
			family:with_labels("a"):add(2);
			assert.equal(2, family.data:get("a").value);
			assert.is_nil(family.data:get("b"));
		end);
	end);

	describe("a metric of " .. name, function ()
		it("has the methods of its type alone", function ()
			local registry = fresh();
			local expected = {
				gauge = { "set", "add", "reset", "iter_samples" };
				counter = { "set", "add", "reset", "iter_samples" };
				histogram = { "sample", "reset", "iter_samples" };
				summary = { "sample", "reset", "iter_samples" };
			};
			for kind, methods in pairs(expected) do
				local family = registry[kind](registry, kind, "", "", {}, with_buckets());
				for _, metric in ipairs { family:with_labels(), family.data } do
					local found = {};
					for _, method in ipairs { "set", "add", "sample", "reset", "iter_samples" } do
						if metric[method] then
							table.insert(found, method);
						end
					end
					table.sort(found);
					table.sort(methods);
					assert.same(methods, found);
				end
			end
		end);

		it("is timed as util.openmetrics does it", function ()
			local timed = require "util.openmetrics".timed;
			local registry = fresh();
			local histogram = registry:histogram("h", "seconds", "", {}, with_buckets());
			local gauge = registry:gauge("g", "seconds");
			timed(histogram:with_labels())();
			timed(gauge:with_labels())();
			assert.equal(1, histogram.data._count);
			assert.is_true(gauge.data.value >= 0);
		end);

		it("shows what was written, wherever one looks", function ()
			local family = fresh():gauge("x", "", "", { "a" });
			local handle = family:with_labels("1");
			handle:set(1);
			local view = family.data:get("1");
			handle:add(2.5);
			assert.equal(3.5, view.value);
			view:add(1);
			assert.equal(4.5, family.data:get("1").value);
			view:set(2);
			assert.same({ [""] = 2 }, samples_of(handle));
			assert.same({ [""] = 2 }, samples_of(view));
			view:reset();
			assert.equal(0, view.value);
		end);

		it("counts", function ()
			local family = fresh():counter("x");
			local metric = family:with_labels();
			metric:add(2);
			metric:add(0.5);
			assert.equal(2.5, family.data.value);
			assert.is_number(family.data._created);
			metric:set(1);
			assert.equal(1, family.data.value);
			local samples = samples_of(family.data);
			assert.equal(1, samples._total);
			assert.equal(family.data._created, samples._created);
			metric:reset();
			assert.equal(0, family.data.value);
		end);

		it("sorts samples into buckets", function ()
			local family = fresh():histogram("x", "", "", {}, with_buckets());
			local metric = family:with_labels();
			for _, sample in ipairs { 0.05, 0.1, 5, 50 } do
				metric:sample(sample);
			end
			local data = family.data;
			assert.equal(4, data._count);
			assert.near(55.15, data._sum, 1e-9);
			assert.is_number(data._created);
			assert.equal(4, #data);
			local seen = {};
			for i, bucket in ipairs(data) do
				seen[i] = { bucket.threshold, bucket.threshold_s, bucket.count };
			end
			assert.same({ { 0.1, "0.1", 2 }, { 1, "1", 2 }, { 10, "10", 3 }, { 1/0, "+Inf", 4 } }, seen);
			assert.is_nil(data[0]);
			assert.is_nil(data[5]);
			metric:sample(0.5);
			assert.equal(3, family.data[2].count);
			local samples = samples_of(data);
			assert.equal(3, samples["_bucket{1}"]);
			assert.equal(5, samples._count);
			metric:reset();
			assert.equal(0, family.data._sum);
			assert.equal(0, family.data[4].count);
		end);

		it("sums up", function ()
			local family = fresh():summary("x", "bytes");
			family:with_labels():sample(3);
			family:with_labels():sample(4.5);
			assert.equal(7.5, family.data._sum);
			assert.equal(2, family.data._count);
			local samples = samples_of(family.data);
			assert.equal(7.5, samples._sum);
			assert.equal(2, samples._count);
			assert.equal(family.data._created, samples._created);
		end);

		it("keeps whole numbers whole", function ()
			local registry = fresh();
			local counter = registry:counter("c");
			local summary = registry:summary("s");
			counter:with_labels():add(9007199254740992);
			counter:with_labels():add(1);
			summary:with_labels():sample(2);
			if has_integers then
				assert.equal("9007199254740993", tostring(counter.data.value));
				assert.equal("integer", math.type(summary.data._sum));
				assert.equal("integer", math.type(summary.data._count));
				registry:gauge("g"):with_labels():set(1.0);
				assert.equal("float", math.type(registry.families.g.data.value));
			else
				assert.equal(9007199254740992, counter.data.value);
			end
		end);

		it("walks like a table", function ()
			local registry = fresh();
			local function keys_of(metric)
				local keys = {};
				for key in pairs(metric) do
					table.insert(keys, tostring(key));
				end
				table.sort(keys);
				return keys;
			end
			if name == "metre" and _VERSION == "Lua 5.1" then
				-- pairs() asks no metamethod there; docs/compatibility.md says so.
				assert.equal(2, #registry:histogram("h", "", "", {}, { buckets = { 1 } }).data);
				return;
			end
			assert.same({ "value" }, keys_of(registry:gauge("g").data));
			assert.same({ "_created", "value" }, keys_of(registry:counter("c").data));
			assert.same({ "_count", "_created", "_sum" }, keys_of(registry:summary("s").data));
			local histogram = registry:histogram("h", "", "", {}, { buckets = { 1 } });
			assert.same({ "1", "2", "_count", "_created", "_sum" }, keys_of(histogram.data));
			assert.same({ "count", "threshold", "threshold_s" }, keys_of(histogram.data[1]));
			histogram.data.mine = true;
			assert.same({ "1", "2", "_count", "_created", "_sum", "mine" }, keys_of(histogram.data));
			assert.equal(2, #histogram.data);
		end);
	end);
end

describe("what metre does better", function ()
	it("leaves the caller's buckets alone", function ()
		local given = { 1, 2 };
		providers.metre():histogram("h", "", "", {}, { buckets = given });
		assert.same({ 1, 2 }, given);
	end);

	it("shows the store's values whatever is assigned", function ()
		local registry = providers.metre();
		local data = registry:gauge("g").data;
		data.value, data.mine = 7, "module's own";
		data:set(9);
		assert.equal(9, data.value);
		assert.equal("module's own", data.mine);
		local histogram = registry:histogram("h", "", "", {}, with_buckets()).data;
		histogram._sum = 7;
		assert.equal(0, histogram._sum);
		local bucket = histogram[1];
		bucket.count = 77;
		assert.equal(0, bucket.count);
		assert.equal(bucket, histogram[1]);
		histogram:sample(0.05);
		assert.equal(1, bucket.count);
	end);

	it("nests partial labels", function ()
		local family = providers.metre():counter("x", "", "", { "a", "b", "c" });
		local proxy = family:with_partial_label("1"):with_partial_label("2");
		assert.equal(family:with_labels("1", "2", "3"), proxy:with_labels("3"));
		assert.equal(family:with_labels("1", "2", "3"), proxy:with_partial_label("3"):with_labels());
	end);

	it("keeps its keys when the module changes its own", function ()
		local keys = { "a" };
		local family = providers.metre():counter("x", "", "", keys);
		table.insert(keys, "b");
		assert.same({ "a" }, family.label_keys);
		family:with_labels("1"):add(1);
	end);
end);

describe("whole numbers", function ()
	it("never wrap", function ()
		if not has_integers then
			return;
		end
		local family = providers.metre():counter("x");
		family:with_labels():set(math.maxinteger);
		assert.equal(math.maxinteger, family.data.value);
		family:with_labels():add(1);
		assert.equal(2^63, family.data.value);
	end);

	it("stand on the page with all their digits", function ()
		local registry = providers.metre();
		registry:gauge("g"):with_labels():set(9007199254740992);
		registry:gauge("h"):with_labels():set(-5);
		registry:gauge("i"):with_labels():set(0.1);
		registry:gauge("j"):with_labels():set(1e300);
		local page = registry:render();
		for _, line in ipairs { "g 9007199254740992", "h -5", "i 0.1", "j 1e+300" } do
			assert.truthy(page:find("\n" .. line .. "\n", 1, true), page);
		end
		if has_integers then
			registry:gauge("g"):with_labels():set(math.maxinteger);
			assert.truthy(registry:render():find("\ng 9223372036854775807\n", 1, true));
		end
	end);
end);

describe("a counter's restart", function ()
	it("moves its creation time", function ()
		local family = providers.metre():counter("x");
		local metric = family:with_labels();
		metric:add(5);
		local created = family.data._created;
		metric:set(7);
		assert.equal(created, family.data._created);
		metric:set(3);
		assert.is_true(family.data._created > created);
		created = family.data._created;
		metric:reset();
		assert.is_true(family.data._created > created);
		created = family.data._created;
		metric:set(0);
		assert.equal(created, family.data._created);
	end);
end);

describe("the page", function ()
	it("is the same whenever nothing has changed", function ()
		local registry = providers.metre();
		local family = registry:counter("b", "", "B", { "x" });
		for i = 1, 100 do
			family:with_labels("v" .. i):add(i);
		end
		registry:gauge("a");
		local page = registry:render();
		assert.equal(page, registry:render());
		pages.assert_valid(page);
		assert.is_true(page:find("# TYPE a ", 1, true) < page:find("# TYPE b ", 1, true));
		assert.is_true(page:find('"v9"', 1, true) < page:find('"v10"', 1, true));
	end);

	it("follows its options", function ()
		local registry = providers.metre({ openmetrics = { created = false, canonical_le = true } });
		registry:histogram("h", "", "", {}, { buckets = { 1, 1e6 } }):with_labels():sample(2);
		local page = registry:render();
		assert.is_nil(page:find("_created", 1, true));
		assert.truthy(page:find('h_bucket{le="1.0"} 0\nh_bucket{le="1e+06"} 1\n', 1, true), page);
		pages.assert_valid(page);
	end);

	it("has names and le texts as Prosody's", function ()
		local texts = {};
		for _, name in ipairs { "prosody", "metre" } do
			local registry = providers[name]();
			registry:histogram("prosody_mod_a.b/c-d", "seconds", "", { "host/x", "1y" },
				{ buckets = { 0.001, 1, 1000000, 1e15, 1/3 * 1e16 } }):with_labels("h", "y"):sample(2);
			texts[name] = pages.samples(registry:render());
		end
		assert.same(texts.prosody, texts.metre);
	end);
end);

describe("a metric that with_labels() has returned", function ()
	it("takes assignments without raising, in families of few series and of many", function ()
		local registry = require "metre".new().metric_registry;
		local family = registry:gauge("assigned", "", "", { "l" });
		for i = 1, 1100 do
			local metric = family:with_labels(tostring(i));
			metric:set(5);
			metric.value = 7;
			metric.mine = 1;
			assert.is_nil(metric.value);
			assert.equal(metric, family:with_labels(tostring(i)));
			assert.equal(5, family.data:get(tostring(i)).value);
			metric.reset(metric);
			assert.equal(0, family.data:get(tostring(i)).value);
		end
	end);
end);
