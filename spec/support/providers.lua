-- The two providers, and what they log.

local logger = require "util.logger";

local logged = {};
logger.add_simple_sink(function (_, level, message)
	table.insert(logged, level .. ": " .. message);
end, { "debug", "info", "warn", "error" });

local providers = {};

-- Only what modules register is on its pages.
function providers.metre(config)
	local all = { self_metrics = false, process_metrics = false };
	for key, value in pairs(config or {}) do
		all[key] = value;
	end
	return assert(require "metre".new(all)).metric_registry;
end

function providers.prosody()
	return require "util.statistics".new().metric_registry;
end

-- What f logged, as a list of "level: message".
function providers.logged_by(f)
	logged = {};
	f();
	return logged;
end

return providers;
