-- Lines that are logged as warnings and errors, metre's own among them.

return function (pack)
	local logger = require "util.logger";
	local sinks = {};
	for level, metric in pairs(pack:all("prosody_log_messages")) do
		sinks[level] = pack:guard("logs", function ()
			metric:add(1);
		end);
	end
	local function add_sinks()
		for level, sink in pairs(sinks) do
			logger.add_level_sink(level, sink);
		end
	end
	add_sinks();
	-- All sinks are gone then.
	pack:hook("logs", "logging-reloaded", add_sinks);
end;
