-- One process of benches/growth.py: what calls and a page cost with that many series.
--
-- Usage: lua growth.lua PROVIDER SERIES. Prints lines: nanoseconds of processor time a call ("new", "held", "found"), and
-- milliseconds a page ("page").

local provider, series = arg[1], tonumber(arg[2]);
local new_registry = require "providers"[provider];

local batch = 10000;
local least = 50000; -- series that are made, and shown on pages, to have enough of them to measure
local most_held = 1000;
local picks = 200000;
local slow = 2; -- seconds

-- Makes the series, and returns the registry, the family and how many seconds that took. Label values are made beforehand, some at
-- a time so that Lua's collector doesn't have millions of them to look after.
local function fill()
	local registry = new_registry { limits = { max_series = 1e7, max_series_per_family = 1e7 } };
	local family = registry:counter("bench_growth", "", "", { "host", "user" });
	local seconds = 0;
	for first = 1, series, batch do
		local users = {};
		for i = first, math.min(first + batch - 1, series) do
			users[#users + 1] = "user" .. i;
		end
		local start = os.clock();
		for i = 1, #users do
			family:with_labels("example.org", users[i]):add(1);
		end
		seconds = seconds + os.clock() - start;
	end
	return registry, family, seconds;
end

local rounds = math.max(1, least // series);
local seconds, registry, family = 0, nil, nil;
for _ = 1, rounds do
	registry, family = nil, nil; -- luacheck: ignore 311
	collectgarbage();
	local took;
	registry, family, took = fill();
	seconds = seconds + took;
end
print("new\t" .. seconds / rounds / series * 1e9);

-- The same choices for all providers.
math.randomseed(series);
local handles = {};
for i = 1, math.min(most_held, series) do
	handles[i] = family:with_labels("example.org", "user" .. math.random(series));
end
local held, users = {}, {};
for i = 1, picks do
	held[i] = handles[math.random(#handles)];
	users[i] = "user" .. math.random(series);
end

-- Prints how long it takes, once for each pick.
local function measure(name, call)
	collectgarbage();
	local start = os.clock();
	call();
	print(name .. "\t" .. (os.clock() - start) / picks * 1e9);
end

measure("held", function () for i = 1, picks do held[i]:add(1); end end);
handles, held = nil, nil; -- luacheck: ignore 311
measure("found", function () for i = 1, picks do family:with_labels("example.org", users[i]):add(1); end end);
users = nil; -- luacheck: ignore 311

-- The first page, which makes what is used again, isn't measured, unless it takes so long that this is nothing beside it.
local function page()
	collectgarbage();
	local start = os.clock();
	local length = #registry:render();
	assert(length > series * 20);
	return os.clock() - start;
end
local first, sum = page(), 0;
if first < slow then
	for _ = 1, rounds do
		sum = sum + page();
	end
	first = sum / rounds;
end
print("page\t" .. first * 1e3);
os.exit(0, false); -- without taking it all apart
