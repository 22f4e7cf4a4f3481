-- Uses every kind of module:measure() and every type of module:metric(), and reads what other modules read.

local prefix = "prosody_mod_metre_probe/";

local measures = {
	amount = module:measure("amount", "amount", { unit = "bytes" });
	counter = module:measure("counter", "counter");
	rate = module:measure("rate", "rate");
	times = module:measure("times", "times");
	sizes = module:measure("sizes", "sizes");
	distribution = module:measure("distribution", "distribution", { unit = "items" });
};
local metrics = {
	gauge = module:metric("gauge", "gauge", "", "A gauge", { "kind" });
	counter = module:metric("counter", "tally", "", "A counter", { "kind" });
	histogram = module:metric("histogram", "histogram", "seconds", "A histogram", { "kind" }, { buckets = { 0.1, 1 } });
	summary = module:metric("summary", "summary", "bytes", "A summary", { "kind" });
};

local function use()
	measures.amount(4096);
	measures.counter(2);
	measures.rate();
	measures.times()();
	measures.sizes(2000);
	measures.distribution(3);
	metrics.gauge:with_labels("a"):set(1.5);
	metrics.counter:with_labels("a"):add(2);
	metrics.histogram:with_labels("a"):sample(0.5);
	metrics.summary:with_labels("a"):sample(100);
end

-- As mod_http_admin_api, a health reporter and mod_prometheus read.
local function read()
	local registry = require "core.statsmanager".get_metric_registry();
	local families = registry:get_metric_families();
	local seen = { families["prosody_stats.collection_seconds"].data._count > 0 };
	seen[2] = families[prefix .. "counter"].data:get(module.host).value == 2;
	seen[3] = families[prefix .. "amount_bytes"].data:get(module.host).value == 4096;
	for labels, metric in families[prefix .. "gauge"]:iter_metrics() do
		seen[4] = labels[1] == module.host and labels[2] == "a" and metric.value == 1.5;
	end
	for _, metric in families[prefix .. "sizes_bytes"]:iter_metrics() do
		seen[5] = metric[1].count == 0 and metric[2].count == metric._count and metric._sum == 2000 * metric._count;
	end
	local total = 0;
	for _, family in pairs(families) do
		for _, metric in family:iter_metrics() do
			for suffix, extra, value in metric:iter_samples() do
				assert(type(suffix) == "string" and type(value) == "number" and (not extra or extra.le));
				total = total + 1;
			end
		end
	end
	seen[6] = total > 50;
	for i = 1, 6 do
		assert(seen[i], "reading " .. i .. " went wrong");
	end
	module:log("info", "Probe has read %d samples", total);
end

local used, checked = false, false;
module:hook_global("stats-update", function ()
	if not used then
		used = true;
		use();
	end
end);
module:hook_global("openmetrics-updated", function (event)
	assert(event.metric_registry == require "core.statsmanager".get_metric_registry());
	-- Prosody's own statsd provider has nothing to read.
	if used and not checked and module:get_option("statistics") ~= "statsd" then
		checked = true;
		read();
	end
end);
