-- Samples below zero: times and sizes count as zero, others lose their sum.

local new_server = require "support.statsd";
local pages = require "support.pages";
local providers = require "support.providers";

local function page_of(registry)
	local page = registry:render();
	pages.assert_valid(page);
	return pages.samples(page);
end

describe("a sample below zero", function ()
	it("counts as zero where times and sizes are measured, and is logged once a family", function ()
		local lines = providers.logged_by(function ()
			local registry = require "metre".new({ process_metrics = false }).metric_registry;
			local times = registry:histogram("t", "seconds", "", { "a" }, { buckets = { 0.1 } });
			local sizes = registry:summary("s", "bytes", "", {});
			for _, value in ipairs { 0.25, -4e-7, -1, -1/0, -0.0 } do
				times:with_labels("x"):sample(value);
				times:with_labels("y"):sample(value);
				sizes:with_labels():sample(value);
			end
			local samples = page_of(registry);
			assert.equal(4, samples['t_seconds_bucket{a="x",le="0.1"}']);
			assert.equal(5, samples['t_seconds_count{a="x"}']);
			assert.equal(0.25, samples['t_seconds_sum{a="y"}']);
			assert.equal(5, samples.s_bytes_count);
			assert.equal(0.25, samples.s_bytes_sum);
			assert.equal(0.25, sizes.data._sum);
			assert.equal(6, samples['metre_clamped_samples_total{family="t_seconds"}']);
			assert.equal(3, samples['metre_clamped_samples_total{family="s_bytes"}']);
			assert.equal(0, samples.metre_series_without_sum);
		end);
		local why = " is negative and counts as 0, since neither times nor sizes are; allow_negative in a rule keeps it; "
			.. "not logged again for this metric";
		assert.equal(2, #lines);
		assert.equal("warn: Metric t_seconds: sample -4e-07" .. why, lines[1]);
		assert.equal("warn: Metric s_bytes: sample -4e-07" .. why, lines[2]);
	end);

	it("is taken as it is where a rule says so", function ()
		local registry = providers.metre { rule = { { match = "t_*", allow_negative = true }, { match = "o", allow_negative = false } } };
		local times, others = registry:summary("t", "seconds"), registry:summary("o");
		local lines = providers.logged_by(function ()
			times:with_labels():sample(-1);
			others:with_labels():sample(-1);
		end);
		assert.equal(2, #lines);
		assert.same({ -1, 0 }, { times.data._sum, others.data._sum });
		local samples = page_of(registry);
		assert.is_nil(samples.t_seconds_sum);
		assert.equal(0, samples.o_sum);
		assert.truthy(registry:explain("t_seconds", "summary"):find("allow_negative = true    (rule 1)", 1, true));
	end);

	it("takes the sum of others off the page, and each of ten series is logged", function ()
		local stats = require "metre".new({ process_metrics = false });
		local registry = stats.metric_registry;
		local summary = registry:summary("s", "", "", { "a", "b" });
		local histogram = registry:histogram("h", "", "", {}, { buckets = { 1 } });
		local lines = providers.logged_by(function ()
			for i = 1, 15 do
				for _ = 1, 2 do
					summary:with_labels("x" .. i, ("\27\"é"):rep(i == 1 and 100 or 0)):sample(-1);
				end
			end
			histogram:with_labels():sample(-2);
		end);
		assert.equal(12, #lines);
		local why = ": sample -1 is negative, so the page no longer has its sum; a reset brings it back";
		local first = lines[1]:match('^warn: Metric s{a="x1",b="(.*)"}' .. why:gsub("%p", "%%%0") .. "$");
		assert.truthy(first, lines[1]);
		assert.is_nil(lines[1]:find("%c"));
		assert.is_true(#lines[1] < 400);
		for i = 2, 10 do
			assert.equal(('warn: Metric s{a="x%d",b=""}%s'):format(i, why), lines[i]);
		end
		assert.equal("warn: Metric s: further series lose their sums to negative samples, too; not logged again for this metric", lines[11]);
		assert.equal("warn: Metric h: sample -2 is negative, so the page no longer has its sum and count; a reset brings them back",
			lines[12]);
		local samples = page_of(registry);
		assert.equal(2, samples['s_count{a="x2",b=""}']);
		assert.is_nil(samples['s_sum{a="x2",b=""}']);
		assert.equal(1, samples['h_bucket{le="+Inf"}']);
		assert.is_nil(samples.h_count);
		assert.equal(16, samples.metre_series_without_sum);
		-- What modules see stays.
		assert.same({ -2, 1 }, { histogram.data._sum, histogram.data._count });
		summary:clear();
		assert.equal(1, page_of(registry).metre_series_without_sum);
		registry:gauge("h");
		assert.equal(0, page_of(registry).metre_series_without_sum);
	end);

	it("works on handles of every kind", function ()
		local registry = providers.metre { rule = { { match = "*", type = { "summary", "histogram" }, idle_ttl = "1d", quantiles = { 0 } } } };
		local leased = registry:summary("l", "", "", { "a" });
		local lines = providers.logged_by(function ()
			leased:with_labels("x"):sample(-1);
			leased:with_labels("x").sample(leased:with_labels("y"), -1);
		end);
		assert.equal(2, #lines);
		assert.truthy(lines[2]:find('Metric l{a="y"}: ', 1, true));
		local clamped = registry:histogram("c", "seconds", "", { "a" }, { buckets = { 1 } });
		clamped:with_labels("x"):sample(-5);
		assert.equal(0, page_of(registry)['c_seconds_quantiles{a="x",quantile="0"}']);
		local many = registry:summary("m", "", "", { "a" });
		for i = 1, 1100 do
			many:with_labels(i);
		end
		lines = providers.logged_by(function ()
			many:with_labels(1099):sample(-1);
		end);
		assert.truthy(lines[1]:find('Metric m{a="1099"}: ', 1, true), lines[1]);
	end);

	it("is pushed as zero where it counts as zero", function ()
		for _, tags in ipairs { "none", "dogstatsd" } do
			local server = new_server();
			local stats = require "metre".new {
				process_metrics = false, self_metrics = false;
				statsd = { server = "udp://127.0.0.1:" .. server.port, histograms = "timing", flush_interval = 3600, tags = tags };
			};
			local registry = stats.metric_registry;
			registry:histogram("t", "seconds", "", {}, { buckets = { 1 } }):with_labels():sample(-0.5);
			registry:summary("s", "bytes"):with_labels():sample(-5);
			assert.is_true(stats:flush());
			local lines = server:lines();
			table.sort(lines);
			-- A sum that hasn't grown isn't sent.
			assert.same({ "prosody.s_bytes.count:1|c", "prosody.t_seconds:0|ms" }, lines);
			stats:close();
			server:close();
		end
	end);
end);

describe("names that belong to whoever reads pages", function ()
	it("are not taken from them", function ()
		local registry, lines;
		lines = providers.logged_by(function ()
			registry = providers.metre();
			registry:gauge("up", "", "", { "a" }):with_labels("x"):set(5);
			registry:gauge("scrape_duration", "seconds"):with_labels():set(5);
			registry:summary("s", "", "", { "quantile" }):with_labels("x"):sample(5);
			registry:histogram("h", "", "", { "quantile" }, { buckets = { 1 } }):with_labels("x"):sample(5);
		end);
		local samples = page_of(registry);
		assert.equal(5, samples['exported_up{a="x"}']);
		assert.equal(5, samples.exported_scrape_duration_seconds);
		assert.equal(5, samples['s_sum{exported_quantile="x"}']);
		assert.equal(5, samples['h_sum{exported_quantile="x"}']);
		assert.equal("warn: Metric family up: scrapers make a metric of its name themselves, so it is called exported_up on the page", lines[1]);
		assert.equal("warn: Metric family s: its label key 1 is called exported_quantile on the page", lines[3]);
		assert.equal(4, #lines);
		assert.truthy(registry.families.up);
	end);

	it("stay the same when a rule shows quantiles", function ()
		local registry = providers.metre { rule = { { match = "*", type = { "summary", "histogram" }, quantiles = { 0.5 } } } };
		registry:summary("s", "", "", { "quantile" }):with_labels("x"):sample(5);
		registry:histogram("h", "", "", { "quantile" }, { buckets = { 1 } }):with_labels("x"):sample(5);
		local samples = page_of(registry);
		assert.equal(5, samples['s_sum{exported_quantile="x"}']);
		assert.truthy(samples['s{exported_quantile="x",quantile="0.5"}']);
		assert.equal(5, samples['h_sum{exported_quantile="x"}']);
		assert.truthy(samples['h_quantiles{exported_quantile="x",quantile="0.5"}']);
	end);
end);
