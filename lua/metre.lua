-- metre: a statistics provider for Prosody with a native store.
--
-- Used by `statistics = ":metre"` in Prosody's configuration; works in a plain Lua process too.

local lifecycle = require "metre.lifecycle";
local native = require "metre.native";
local report = lifecycle.report;
local registry = require "metre.registry";

local stats_methods = {};
local stats_mt = { __index = stats_methods };

-- From here to uncork() a scrape shows gauges as they are now.
function stats_methods:cork()
	report(self._native.cork());
end

-- Harmless when nothing is corked: Prosody calls it at every collection.
function stats_methods:uncork()
	report(self._native.uncork());
	local ok, err = pcall(registry.expire, self.metric_registry);
	if not ok then
		report(nil, err);
	end
	lifecycle.log_notices(self._native);
end

-- Hands everything pending to the statsd socket before it returns, within a second; true, or false and why that didn't
-- work. Outside Prosody the first call starts the thread that pushes.
function stats_methods:flush()
	local started, why = lifecycle.start_outside(self._native);
	if not started then
		return false, why;
	end
	local flushed, err = self._native.flush();
	lifecycle.log_notices(self._native);
	return flushed, err;
end

-- Sends the last values and stops what runs in the background, within two seconds. May be called more than once;
-- metrics go on working.
function stats_methods:close()
	lifecycle.stop(self._native);
end

local function make(config, statsd)
	config = lifecycle.with_absolute_file(config, lifecycle.config_directory());
	local provider, err = native.provider(config, statsd);
	if not provider then
		return nil, err;
	end
	local stats = setmetatable({
		metric_registry = registry.new(provider);
		_native = provider;
	}, stats_mt);
	lifecycle.attach(provider, function () return registry.expire(stats.metric_registry); end);
	if lifecycle.is_server() and provider.operator then -- nobody else need load it
		lifecycle.protected(function () require "metre.operator".attach(provider, stats); end)();
	end
	return stats;
end

-- Returns the provider, or nil and what is wrong with the configuration. Starts nothing. Whatever happens, it doesn't
-- raise: that would keep Prosody from starting.
local function protected(statsd)
	return function (config)
		local ok, stats, err = pcall(make, config, statsd);
		if not ok then
			return nil, lifecycle.text(stats);
		end
		return stats, err;
	end
end

return {
	_NAME = "metre";
	new = protected(false);
	-- The same, with a pusher to localhost unless another server is configured.
	new_with_statsd = protected(true);
};
