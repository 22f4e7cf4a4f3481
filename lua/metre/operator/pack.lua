-- What all sources of the operator pack share: families and their series, hosts, hooks that can't do harm.

local families = require "metre.operator.families";
local lifecycle = require "metre.lifecycle";
local log = require "metre.log";
local native = require "metre.native";
local register = require "metre.registry".register;
local monotonic = require "util.time".monotonic;
local t_insert, unpack = table.insert, table.unpack or unpack; -- luacheck: ignore 143 113

-- When Prosody 0.12 has forked into the background, which it does at 0 of server-started.
local after_fork = -0.5;

local pack_methods = {};
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

-- BEGIN of series

-- Labels whose values come and go; where they are, they come first.
local can_leave = { host = true, remote = true };

-- The family of this name in families.lua.
function pack_methods:family(name)
	local family = self._families[name];
	if not family then
		local spec = assert(families[name], name);
		local short = spec.unit and name:sub(1, -#spec.unit - 2) or name;
		family = register(self.registry, spec.type, short, spec.unit, spec.help, spec.labels or {},
			spec.buckets and { buckets = spec.buckets }, {
				leaves = spec.labels and can_leave[spec.labels[1]];
				uncreated = true;
			});
		self._families[name] = family;
	end
	return family;
end

-- How many lines a series of this family takes on the page; none if the operator has left the family out.
local function lines_of(self, name)
	local spec = families[name];
	if not self:family(name)._native then
		return 0;
	end
	return spec.buckets and #spec.buckets + 3 or 1;
end

-- Whether a family's first label is the host, with which its series go.
local function is_of_host(name)
	return (families[name].labels or {})[1] == "host";
end

-- Notes that a series is made, whose lines on the page count.
function pack_methods:_note(name, first_label)
	local lines = lines_of(self, name);
	self._lines = self._lines + lines;
	local of_host = is_of_host(name) and self._lines_of_host[first_label];
	if of_host then
		self._lines_of_host[first_label] = of_host + lines;
	end
end

-- The metric with these label values. It is to be asked for once, and held.
function pack_methods:metric(name, ...)
	self:_note(name, (...));
	return self:family(name):with_labels(...);
end

-- Keeps room for so many series of a family that come and go, with this as their first label if that is a host.
function pack_methods:reserve(name, count, first_label)
	for _ = 1, count do
		self:_note(name, first_label);
	end
end

-- Has the series of a family go whose first label has this value.
function pack_methods:forget(name, value)
	native.forget(self:family(name)._native, 1, value);
end

-- Lines on the page that all of the pack may have with one host, and with each further one.
local most_lines, most_of_host = 350, 90;

-- Lines that are kept free for series that are made whether there is room or not: durations of what other servers send, and on each
-- host causes of failures of s2s that aren't expected. And those for series that come late.
local kept_always, kept_of_host, kept_for_late = 24, 6, 40;

-- Whether there is room for a series of this family beyond those that are always there.
function pack_methods:has_room(name, is_late)
	local most = most_lines + most_of_host * (math.max(self._host_count, 1) - 1);
	local kept = kept_always + kept_of_host * self._host_count + (is_late and 0 or kept_for_late);
	return self._lines + lines_of(self, name) + kept <= most;
end

-- Makes the series of all combinations of values that the labels after `depth` can have.
local function fill(self, name, labels, depth)
	local key = (families[name].labels or {})[depth + 1];
	if not key then
		return self:metric(name, unpack(labels, 1, depth));
	end
	local metrics = {};
	for _, value in ipairs(families[name].values[key]) do
		labels[depth + 1] = value;
		metrics[value] = fill(self, name, labels, depth + 1);
	end
	return metrics;
end

-- Makes all series of a family, or those whose first labels have the values given. They begin at zero, so that the first
-- event is an increase. Returns their metrics in tables in tables, by the values of the labels.
function pack_methods:all(name, ...)
	return fill(self, name, { ... }, select("#", ...));
end

-- As all(), for a family whose first label is `host`: returns a table by host, with what all() returns for that host. It has the
-- hosts of users (components have none), as long as they are there.
function pack_methods:all_of_hosts(name)
	local by_host = {};
	self:on_host(name, function (host, session)
		if session.type == "local" then
			by_host[host] = self:all(name, host);
		end
	end, function (host)
		by_host[host] = nil;
	end);
	return by_host;
end

-- As all_of_hosts(), for the hosts on which one of these modules (a table by name) is loaded, from then on. If the value of the
-- second label is given, these are the series with it alone.
function pack_methods:all_of_modules(name, modules, value)
	local by_host = {};
	local function look(module, host, session)
		if modules[module] and not by_host[host] and session and session.modules[module] then
			by_host[host] = value and self:all(name, host, value) or self:all(name, host);
		end
	end
	self:hook_hosts(name, "module-loaded", function (event, host)
		look(event.module, host, self._hosts[host]);
	end);
	-- With the first host on which it is loaded, a module of all hosts is global, and so is the event.
	self:hook(name, "module-loaded", function (event)
		for host, session in pairs(self._hosts) do
			look(event.module, host, session);
		end
	end);
	self:on_host(name, nil, function (host)
		by_host[host] = nil;
	end);
	return by_host;
end

-- The clock that functions of stop_of() go by, in seconds.
pack_methods.began = native.now;

-- A function stop(began, ...) for a histogram's metric of this family: puts the time since `began` into it, and returns what follows.
-- If that begins with nil or false and an error, failed(error) is called before, if given.
function pack_methods:stop_of(name, metric, failed)
	if self:family(name)._native then
		return native.stop_of(metric, failed);
	end
	-- The operator wants none of these times.
	return function (_, ...)
		local ok, err = ...;
		if failed and not ok and err ~= nil then
			failed(err);
		end
		return ...;
	end;
end

-- END of series

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
	for name, family in pairs(self._families) do
		if is_of_host(name) then
			native.forget(family._native, 1, host);
		end
	end
	self._lines = self._lines - self._lines_of_host[host];
	self._lines_of_host[host] = nil;
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
		now = monotonic;
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
