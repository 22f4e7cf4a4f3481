-- The providers that are compared, by name: functions of a configuration that return a registry.

package.path = package.path .. ";/usr/lib/prosody/?.lua";

if _VERSION == "Lua 5.4" then
	package.cpath = package.cpath .. ";/usr/lib/prosody/?.so";
else
	-- Debian builds the parts of Prosody that are in C for Lua 5.4 alone. This stands in for what the providers call.
	package.preload["util.time"] = function () return { now = os.time }; end
	package.preload["util.table"] = function ()
		return { pack = function (...) return { n = select("#", ...), ... }; end };
	end
	package.preload["util.format"] = function () return { format = string.format }; end
end

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
