-- A storage driver that remembers what it is given, and takes its time, while Prosody does other things.

local async = require "util.async";
local timer = require "util.timer";

local stores = {};
local methods = {};
local mt = { __index = methods };

local function take_time()
	local wait, done = async.waiter();
	timer.add_task(0.3, function () done(); end);
	wait();
end

function methods:get(user)
	take_time();
	return self.values[user or ""];
end

function methods:set(user, value)
	take_time();
	self.values[user or ""] = value;
	return true;
end

module:provides("storage", {
	open = function (_, name, typ)
		if typ and typ ~= "keyval" then
			return nil, "unsupported-store";
		end
		stores[name] = stores[name] or {};
		return setmetatable({ values = stores[name] }, mt);
	end;
});
