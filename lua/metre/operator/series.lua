-- The pack's families and their series: which there are, and how many lines of the page they may have.

local families = require "metre.operator.families";
local native = require "metre.native";
local register = require "metre.registry".register;
local unpack = table.unpack or unpack; -- luacheck: ignore 143 113

-- Methods of the pack's.
local methods = {};

-- Labels whose values come and go; where they are, they come first.
local can_leave = { host = true, remote = true };

-- The family of this name in families.lua.
function methods:family(name)
	local family = self._families[name];
	if not family then
		local spec = assert(families[name], name);
		local short = spec.unit and name:sub(1, -#spec.unit - 2) or name;
		family = register(self.registry, spec.type, short, spec.unit or "", spec.help, spec.labels or {},
			spec.buckets and { buckets = spec.buckets }, {
				leaves = spec.labels and can_leave[spec.labels[1]];
				uncreated = true;
				names_others = spec.names_others;
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
function methods:_note(name, first_label)
	local lines = lines_of(self, name);
	self._lines = self._lines + lines;
	local of_host = is_of_host(name) and self._lines_of_host[first_label];
	if of_host then
		self._lines_of_host[first_label] = of_host + lines;
	end
end

-- The metric with these label values. It is to be asked for once, and held.
function methods:metric(name, ...)
	self:_note(name, (...));
	return self:family(name):with_labels(...);
end

-- Keeps room for so many series of a family that come and go, with this as their first label if that is a host.
function methods:reserve(name, count, first_label)
	for _ = 1, count do
		self:_note(name, first_label);
	end
end

-- Has the series of a family go whose first label has this value.
function methods:forget(name, value)
	native.forget(self:family(name)._native, 1, value);
end

-- Has all series of a host go.
function methods:_forget_host(host)
	for name, family in pairs(self._families) do
		if is_of_host(name) then
			native.forget(family._native, 1, host);
		end
	end
	self._lines = self._lines - self._lines_of_host[host];
	self._lines_of_host[host] = nil;
end

-- Lines on the page that all of the pack may have with one host, and with each further one.
local most_lines, most_of_host = 350, 90;

-- Lines that are kept free for series that are made whether there is room or not: durations of what other servers send, and on each
-- host causes of failures of s2s that aren't expected. And those for series that come late.
local kept_always, kept_of_host, kept_for_late = 24, 6, 40;

-- Whether there is room for a series of this family beyond those that are always there.
function methods:has_room(name, is_late)
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
function methods:all(name, ...)
	return fill(self, name, { ... }, select("#", ...));
end

-- As all(), for a family whose first label is `host`: returns a table by host, with what all() returns for that host. It has the
-- hosts of users (components have none), as long as they are there.
function methods:all_of_hosts(name)
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
function methods:all_of_modules(name, modules, value)
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

-- A function stop(began, ...) for a histogram's metric of this family: puts the time since `began`, a time of pack.now(), into it, and
-- returns what follows. If that begins with nil or false and an error, failed(error) is called before, if given.
function methods:stop_of(name, metric, failed)
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

return methods;
