-- When metre may start and stop what runs beside Prosody's thread.
--
-- new() runs before Prosody forks into the background, and in prosodyctl as well, so nothing starts there.

local log = require "metre.log";
local native = require "metre.native";

-- Handlers run from high to low. In 0.12 server-started daemonizes at 0, and the first collection is at -1; the last
-- collection is at -1 of server-stopped.
local after_fork, after_last_collection = -0.5, -2;

-- After all modules' own handlers.
local last = -1000;

-- Seconds until the next attempt, should the system have no threads or descriptors left.
local retry_interval = 10;

-- What was raised, as text: it may be an object that raises when it is asked for one.
local function text(err)
	local ok, as_text = pcall(tostring, err);
	return ok and as_text or "an error that is a " .. type(err);
end

-- Native functions return nil and a message when they fail, which nobody expects of these, and whether that was logged before.
-- When their Lua state is closing, everything stops by itself.
local function report(_, err, logged)
	if not err or logged then
		return;
	end
	if err == native.busy then
		log("warn", "Not done: %s", err);
	elseif err ~= native.closing then
		log("error", "Please report: %s", text(err));
	end
end

-- An error in a handler would end Prosody, and a returned value would keep the others from running.
local function protected(f)
	return function (...)
		local ok, err = pcall(f, ...);
		if not ok then
			report(nil, err);
		end
	end
end

-- Logs what threads have left to be logged.
local function log_notices(provider)
	local notices, err, logged = provider.notices();
	report(notices, err, logged);
	for i = 1, notices and #notices or 0, 2 do
		log(notices[i], "%s", notices[i + 1]);
	end
end

-- Starts the provider's threads, if it has any, and has `watch` make Prosody's event loop listen to them. Returns whether that worked.
local function start_in_prosody(provider, watch)
	local started, descriptor = provider.start();
	if not started then
		local why = tostring(descriptor);
		if provider.told ~= why then
			provider.told = why; -- once, however often it is tried
			log("warn", "Neither exporter nor statsd pusher run yet: %s; tried again until they do", why);
		end
		return false;
	end
	if descriptor then
		local ok, unwatch = pcall(watch, provider, descriptor);
		if ok then
			provider.unwatch = unwatch;
		else
			report(nil, unwatch);
		end
	end
	return true;
end

-- Stops them, once they have sent the last values.
local function stop(provider)
	provider.stopped = true; -- a retry that is due later starts nothing
	if provider.unwatch then
		provider.unwatch();
		provider.unwatch = nil;
	end
	report(provider.stop());
	log_notices(provider);
end

local function retry(provider, watch)
	if provider.stopped or start_in_prosody(provider, watch) then
		return nil; -- ends the timer
	end
	return retry_interval;
end

-- Seconds until series that nobody updates are looked for again, and within one look.
local expire_interval, expire_pause = 1, 0.05;

-- Has series go that nobody has updated for as long as the operator says.
local function expire_by_timer(provider, expire)
	require "util.timer".add_task(expire_interval, function ()
		if provider.stopped then
			return nil; -- ends the timer
		end
		local ok, more = pcall(expire);
		if not ok then
			report(nil, more);
		end
		return ok and more and expire_pause or expire_interval;
	end);
end

-- Whether this is Prosody itself, and not prosodyctl or another program.
local function is_server()
	local prosody = rawget(_G, "prosody");
	return prosody ~= nil and prosody.process_type == "prosody";
end

-- expire: looks at some series; whether there are more.
local function attach(provider, expire)
	if not is_server() then
		return;
	end
	local prosody = rawget(_G, "prosody");
	-- Loaded by now: there may be no descriptor for that when it is needed.
	local watch = require "metre.watch".watch;
	prosody.events.add_handler("server-started", protected(function ()
		if not start_in_prosody(provider, watch) then
			require "util.timer".add_task(retry_interval, function () return retry(provider, watch); end);
		end
		if provider.expires then
			expire_by_timer(provider, expire);
		end
	end), after_fork);
	-- The end of a collection, whoever began it.
	prosody.events.add_handler("openmetrics-updated", protected(function ()
		report(provider.collected(true));
	end), last);
	prosody.events.add_handler("server-stopped", protected(function ()
		stop(provider);
	end), after_last_collection);
end

-- Outside Prosody nothing tells that it has started: whoever flushes wants it to. In prosodyctl nothing ever starts. Returns
-- false and why if it couldn't start, as in a process that forked off from the one it runs in.
local function start_outside(provider)
	if rawget(_G, "prosody") or provider.is_running() then
		return true;
	end
	local started, why = provider.start();
	return started or false, why;
end

-- A relative config_file is looked for beside Prosody's own configuration, since Prosody changes its directory.
local function with_absolute_file(config, directory)
	local file = type(config) == "table" and rawget(config, "config_file");
	if not directory or type(file) ~= "string" or file == "" or file:match("^/") then
		return config;
	end
	local copy = {};
	for key, value in pairs(config) do
		copy[key] = value;
	end
	copy.config_file = directory .. "/" .. file;
	return copy;
end

-- The directory of Prosody's configuration, inside Prosody.
local function config_directory()
	local prosody = rawget(_G, "prosody");
	return prosody and prosody.paths and prosody.paths.config;
end

return {
	attach = attach;
	is_server = is_server;
	config_directory = config_directory;
	log_notices = log_notices;
	protected = protected;
	report = report;
	start_outside = start_outside;
	stop = stop;
	text = text;
	with_absolute_file = with_absolute_file;
};
