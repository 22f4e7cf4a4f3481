-- The providers that are compared, by name: functions of a configuration that return a registry.

require "support.helper"; -- by which Prosody's is found

local providers = {};

function providers.prosody()
	return require "util.statistics".new().metric_registry;
end

function providers.metre(config)
	return assert(require "metre".new(config)).metric_registry;
end

-- metre's store behind mlua's UserData, as a binding without any tricks.
function providers.binding()
	return require "plain_binding".registry();
end

return providers;
