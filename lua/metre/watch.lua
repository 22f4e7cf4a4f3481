-- What threads want of Prosody's event loop.

local lifecycle = require "metre.lifecycle";
local log = require "metre.log";
local log_notices, protected, report = lifecycle.log_notices, lifecycle.protected, lifecycle.report;

-- Prosody exports this only with `statistics_interval = "manual"`.
local function collect_function()
	return require "core.statsmanager".collect;
end

-- A thread has woken the event loop.
local function answer(provider)
	local wants_collection, err, logged = provider.answer();
	report(wants_collection, err, logged);
	log_notices(provider);
	if not wants_collection then
		return;
	end
	-- What a module raises in there must not end Prosody, and who wanted it goes on without it. Whatever a module returns
	-- keeps the event from getting to us.
	local ok, why = pcall(collect_function());
	if not ok then
		-- What it has corked is half counted, and would keep gauges from the page from now on.
		report(provider.discard());
		if not provider.collections_fail then
			log("error", "A module failed while statistics were collected: %s; not logged again until it works",
				lifecycle.text(why));
		end
	end
	provider.collections_fail = not ok;
	report(provider.collected(ok));
end

-- Has Prosody's event loop answer as soon as this descriptor is readable. Returns a function that ends it.
local function watch(provider, descriptor)
	local server = require "net.server";
	local socket = descriptor;
	if server.get_backend and server.get_backend() == "select" then
		-- It closes what it is told to forget, and finds nothing to close on a number.
		socket = { getfd = function () return descriptor; end, close = function () end };
	end
	local handle = server.watchfd(socket, protected(function ()
		answer(provider);
	end));
	provider.watched(collect_function() ~= nil);
	return protected(function ()
		if handle.close then
			handle:close();
		else
			handle:setflags(false, false); -- libevent's has nothing else
		end
	end);
end

return {
	watch = watch;
};
