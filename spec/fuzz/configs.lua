-- Configurations: such as an operator may write, and any nonsense.

local keys = {
	"self_metrics", "process_metrics", "statsd_server", "statsd_port", "prefix", "openmetrics", "limits", "labels", "rule", "exporter",
	"statsd", "operator", "config_file", "nonsense", 1, 2,
};
local inner = {
	"created", "canonical_le", "max_families", "max_series", "max_series_per_family", "max_label_bytes", "max_quantile_series",
	"cluster", "match", "host", "type", "drop", "idle_ttl", "buckets", "quantiles", "quantile_window", "allow_negative", "listen", "allow",
	"server", "rename_tags", "flush_interval", "tags", "histograms", "remotes", "slow_log", 1, 2, 3,
};

local configs = {};

local kinds = { "gauge", "counter", "histogram", "summary" };

-- One that is right.
function configs.right(random, directory)
	local config = { self_metrics = random:below(2) == 0, process_metrics = random:below(4) == 0 };
	if random:below(3) == 0 then
		config.limits = { max_series_per_family = 1 + random:below(50), max_families = 2 + random:below(30) };
		config.limits.max_label_bytes = 128 + random:below(200);
		config.limits.max_series = random:below(2) == 0 and 20 + random:below(200) or nil;
		config.limits.max_quantile_series = random:below(8);
	end
	if random:below(3) == 0 then
		config.labels = { cluster = random:pick { "eu1", "", "x\n\"" } };
	end
	config.rule = {};
	if random:below(2) == 0 then
		table.insert(config.rule, { match = random:pick { "fuzz_*", "*" }, type = kinds, idle_ttl = random:pick { 1, 5, "1h" } });
	end
	if random:below(3) == 0 then
		table.insert(config.rule, { match = "*", type = { "histogram", "summary" }, quantiles = { 0, 0.5, 0.99 }, quantile_window = "1s" });
	end
	if random:below(6) == 0 then
		table.insert(config.rule, { match = "fuzz_1*", drop = true });
	end
	if random:below(6) == 0 then
		table.insert(config.rule, { match = "fuzz_2*", max_series = random:below(4) + 1 });
	end
	if random:below(8) == 0 then
		table.insert(config.rule, { match = "*", host = "v1*", drop = true });
	end
	if random:below(6) == 0 then
		table.insert(config.rule, { match = "fuzz_*", type = "histogram", buckets = { 0.1, 1 } });
	end
	if random:below(4) == 0 then
		config.openmetrics = { created = random:below(2) == 0, canonical_le = random:below(2) == 0 };
	end
	if random:below(4) == 0 then
		config.statsd = {
			server = random:pick { "udp://127.0.0.1:9", "unix:" .. directory .. "/nobody", "tcp://127.0.0.1:9" },
			tags = random:pick { "dogstatsd", "influx" }, histograms = random:pick { "buckets", "timing" }, flush_interval = 1,
		};
	end
	config.operator = random:pick { true, false, { remotes = 3, slow_log = "1s" }, { enabled = false } };
	if random:below(5) == 0 then
		config.exporter = { listen = "unix:" .. directory .. "/exporter" };
	end
	return config;
end

-- For what the model looks after: nothing is limited and nothing goes by itself.
function configs.model(random)
	local config = { self_metrics = random:below(2) == 0, process_metrics = false, rule = {} };
	if random:below(2) == 0 then
		table.insert(config.rule, { match = "*", type = kinds, idle_ttl = "10d" });
	end
	if random:below(2) == 0 then
		table.insert(config.rule, { match = "*", type = { "histogram", "summary" }, quantiles = { 0.5, 1 } });
	end
	return config;
end

-- Anything.
function configs.nonsense(world)
	local random, values = world.random, world.values;
	local config = random:below(2) == 0 and configs.right(random, world.directory) or {};
	for _ = 1, 1 + random:below(4) do
		local value = random:below(3) == 0 and values.nested(5) or values.pick();
		if random:below(2) == 0 then
			value = { [random:pick(inner)] = values.pick(), [random:pick(inner)] = values.nested(2) };
		end
		config[random:pick(keys)] = value;
	end
	if random:below(4) == 0 then
		return values.hostile(config);
	end
	return config;
end

return configs;
