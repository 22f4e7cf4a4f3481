-- metre: a statistics provider for Prosody with a native store.
--
-- Used by `statistics = ":metre"` in Prosody's configuration; works in a plain Lua process too.

local lifecycle = require "metre.lifecycle";
local native = require "metre.native";
local report = lifecycle.report;
local new_registry = require "metre.registry".new;

local stats_methods = {};
local stats_mt = { __index = stats_methods };

-- From here to uncork() a scrape shows gauges as they are now.
function stats_methods:cork()
	report(self._native.cork());
end

-- Harmless when nothing is corked: Prosody calls it at every collection.
function stats_methods:uncork()
	report(self._native.uncork());
end

-- Hands everything pending to where it goes before it returns; true if that worked.
function stats_methods:flush()
	return self._native.flush();
end

-- Stops what runs in the background. May be called more than once; metrics go on working.
function stats_methods:close()
	report(self._native.stop());
end

local function make(config)
	local provider, err = native.provider(lifecycle.with_absolute_file(config));
	if not provider then
		return nil, err;
	end
	local stats = setmetatable({
		metric_registry = new_registry(provider);
		_native = provider;
	}, stats_mt);
	lifecycle.attach(provider);
	return stats;
end

-- Returns the provider, or nil and what is wrong with the configuration. Starts nothing. Whatever happens, it doesn't
-- raise: that would keep Prosody from starting.
local function new(config)
	local ok, stats, err = pcall(make, config);
	if not ok then
		return nil, tostring(stats);
	end
	return stats, err;
end

return {
	_NAME = "metre";
	new = new;
};
