-- What all sources of the operator pack share: hosts, and hooks that can't do harm; series.lua has the rest.

local lifecycle = require "metre.lifecycle";
local log = require "metre.log";
local native = require "metre.native";
local series = require "metre.operator.series";
local t_insert = table.insert;

-- When Prosody 0.12 has forked into the background, which it does at 0 of server-started.
local after_fork = -0.5;

local pack_methods = {};
for name, method in pairs(series) do
	pack_methods[name] = method;
end
local pack_mt = { __index = pack_methods };

-- BEGIN of protection

-- Something of the pack has failed, which is logged and counted. Raises nothing.
function pack_methods:fault(what, err)
	log("error", "Please report: metrics for operators miss what concerns %s from now on: %s", what, lifecycle.text(err));
	pcall(self.provider.fault, "operator." .. what);
end

-- A function that does what `f` does, returns nothing and raises nothing. Once `f` has failed it is not called again.
function pack_methods:guard(what, f)
	local failed = false;
	return function (...)
		if failed then
			return;
		end
		local ok, err = pcall(f, ...);
		if not ok then
			failed = true;
			self:fault(what, err);
		end
	end;
end

-- END of protection

-- BEGIN of hooks

-- Calls added(host, session) for each host before anything of it is opened, and removed(host) when it is gone.
function pack_methods:on_host(what, added, removed)
	if added then
		t_insert(self._added, self:guard(what, added));
	end
	if removed then
		t_insert(self._removed, self:guard(what, removed));
	end
end

-- Calls f(event) at a global event of Prosody's. Whatever f returns stays here.
function pack_methods:hook(what, event, f, priority)
	self.prosody.events.add_handler(event, self:guard(what, f), priority);
end

-- Calls f(event, host) at an event of each host.
function pack_methods:hook_hosts(what, event, f, priority)
	local guarded = self:guard(what, f);
	self:on_host(what, function (host, session)
		session.events.add_handler(event, function (data)
			guarded(data, host);
		end, priority);
	end);
end

-- Calls f() at each collection, between cork() and uncork(), so that a page has all or nothing of what it sets.
function pack_methods:on_collection(what, f)
	t_insert(self._collecting, self:guard(what, f));
end

-- Calls f() some seconds after Prosody has started, and again as often as it returns in how many seconds. It is too late
-- for that once Prosody has started.
function pack_methods:later(what, seconds, f)
	local again;
	local guarded = self:guard(what, function ()
		again = f();
	end);
	self:hook(what, "server-started", function ()
		require "util.timer".add_task(seconds, function ()
			again = nil;
			guarded();
			return again;
		end);
	end, after_fork);
end

-- The name of a host as a label: "" for what isn't one of ours, such as a name that a client has sent.
function pack_methods:host_label(host)
	return host and rawget(self.prosody.hosts, host) and host or "";
end

-- END of hooks

-- For Prosody's events.

function pack_methods:add_host(host)
	if self._hosts[host] then
		-- Another handler has kept the event of its end from getting here.
		self:remove_host(host);
	end
	local session = rawget(self.prosody.hosts, host);
	if not session then
		return;
	end
	self._hosts[host] = session;
	self._host_count = self._host_count + 1;
	self._lines_of_host[host] = 0;
	for _, added in ipairs(self._added) do
		added(host, session);
	end
end

function pack_methods:remove_host(host)
	if not self._hosts[host] then
		return;
	end
	for _, removed in ipairs(self._removed) do
		removed(host);
	end
	self:_forget_host(host);
	self._host_count = self._host_count - 1;
	self._hosts[host] = nil;
end

function pack_methods:collect()
	self.stats:cork();
	for _, f in ipairs(self._collecting) do
		f();
	end
	self.stats:uncork();
end

-- provider: the native one; stats: what Prosody has got of metre.
local function new(prosody, provider, stats)
	return setmetatable({
		options = provider.operator;
		prosody = prosody;
		provider = provider;
		registry = stats.metric_registry;
		stats = stats;
		-- Seconds that only go up, for durations.
		now = native.now;
		-- What looks at elements that sessions are sent besides stanzas, by name: f(element, session).
		watched = {};
		_families = {};
		-- What hosts and collections call.
		_added = {};
		_removed = {};
		_collecting = {};
		-- Sessions of hosts by name, and how many they are.
		_hosts = {};
		_host_count = 0;
		-- Lines on the page, in all and by host.
		_lines = 0;
		_lines_of_host = {};
	}, pack_mt);
end

return {
	new = new;
};
