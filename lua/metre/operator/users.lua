-- How many accounts there are, and how many of them are used. Only if the operator wants it: all accounts are looked at, once
-- an hour and in small slices, between which Prosody does its other work.

local log = require "metre.log";

-- Seconds: until the first count, until the next one, of a slice, and between slices.
local delay, interval, slice, pause = 300, 3600, 0.002, 0.05;

local day = 86400;
local windows = { ["1d"] = day, ["7d"] = 7 * day, ["30d"] = 30 * day };

-- A function that tells when a user of this host was last active (nil if nobody knows), or nil if nothing there knows that.
local function source_of(host, session)
	local modules = session.modules;
	local activity = modules and (modules.account_activity or modules.lastlog2);
	if not activity then
		return nil;
	end
	local get_last_active = rawget(activity, "get_last_active");
	if get_last_active then
		return get_last_active;
	end
	local store = require "core.storagemanager".open(host, "lastlog2");
	return store and function (username)
		if session.sessions[username] then
			return os.time();
		end
		local last;
		for what, event in pairs(store:get(username) or {}) do
			local timestamp = what ~= "registered" and type(event) == "table" and tonumber(event.timestamp);
			if timestamp and timestamp > (last or 0) then
				last = timestamp;
			end
		end
		return last;
	end;
end

-- The users of a host, as for "for", or nil if its way to log in doesn't tell.
local function users_of(session)
	local provider = session.users;
	if type(provider) ~= "table" or provider.name == "anonymous" then
		return nil;
	end
	local f, state, username = provider.users();
	if f == next then
		-- A table of somebody's, that changes while we wait.
		local names = {};
		for name in pairs(state) do
			names[name] = true;
		end
		state = names;
	end
	return type(f) == "function" and f or nil, state, username;
end

return function (pack)
	if not pack.options.active_users then
		return;
	end
	local async, timer = require "util.async", require "util.timer";

	-- By host: metrics that are there once something has been counted.
	local hosts = {};
	pack:on_host("users", function (host, session)
		hosts[host] = session.type == "local" and {} or nil;
	end, function (host)
		hosts[host] = nil;
	end);

	local began;
	local function give_way()
		if pack.now() - began > slice then
			local wait, done = async.waiter();
			timer.add_task(pause, function () done(); end);
			wait();
			began = pack.now();
		end
	end

	local function count(host, metrics, session)
		local f, state, username = users_of(session);
		if not f then
			return;
		end
		local last_active, now = source_of(host, session), os.time();
		local registered, active = 0, { ["1d"] = 0, ["7d"] = 0, ["30d"] = 0 };
		for name in f, state, username do
			registered = registered + 1;
			local last = last_active and last_active(name);
			for window, seconds in pairs(windows) do
				if last and now - last <= seconds then
					active[window] = active[window] + 1;
				end
			end
			give_way();
			-- It may have gone, and come again.
			if hosts[host] ~= metrics then
				return;
			end
		end
		metrics.registered = metrics.registered or pack:metric("prosody_users_registered", host);
		metrics.registered:set(registered);
		if last_active then
			metrics.active = metrics.active or pack:all("prosody_active_users", host);
			for window, metric in pairs(metrics.active) do
				metric:set(active[window]);
			end
		end
	end

	-- An error says nothing of the next host: perhaps its database is away.
	local runner = async.runner(function (host)
		local metrics, session = hosts[host], pack.prosody.hosts[host];
		began = pack.now();
		if metrics and session then
			count(host, metrics, session);
		end
	end, { error = function ()
		-- What the error says may name a user.
		log("warn", "Users could not be counted, as their store has failed; tried again in an hour");
	end });

	pack:later("users", delay, function ()
		if runner.state == "ready" then
			for host in pairs(hosts) do
				runner:enqueue(host);
			end
			runner:run();
		end
		return interval;
	end);
end;
