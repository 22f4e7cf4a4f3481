-- Has the first and the next count of users come at once, not after five minutes and an hour.

module:set_global();

local timer = require "util.timer";
local add_task = timer.add_task;

function timer.add_task(seconds, f, ...)
	if seconds ~= 300 or not debug.getinfo(2, "S").source:find("metre/operator", 1, true) then
		return add_task(seconds, f, ...);
	end
	return add_task(0.1, function (...)
		return f(...) and 0.2;
	end, ...);
end
