-- One process of benches/memory.py: how much memory a series takes.
--
-- Usage: lua memory.lua PROVIDER KIND SERIES [held]: with "held" somebody holds the handle of each series. Prints two lines:
-- private bytes a series, and how many of them Lua has allocated.

local memory = require "private";

local provider, kind, series, held = arg[1], arg[2], tonumber(arg[3]), arg[4] == "held";
local extra = kind == "histogram" and { buckets = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 } } or nil;
local update = kind == "histogram" and "sample" or "add";

local registry = require "providers"[provider] { limits = { max_series = 1e7, max_series_per_family = 1e7 } };
local family = registry[kind](registry, "bench_memory", "", "", { "host", "user" }, extra);

-- There before the first reading, so that it doesn't count.
local handles = {};
for i = 1, held and series or 0 do
	handles[i] = false;
end

-- The second time for what the first one's finalizers have let go.
local function read()
	collectgarbage();
	collectgarbage();
	return (memory()), collectgarbage("count") * 1024;
end

read(); -- so that what reading takes is there
local private_before, lua_before = read();
-- Label values are new strings, as those that come from clients are.
for i = 1, series do
	local metric = family:with_labels("example.org", "user" .. i);
	metric[update](metric, i);
	if held then
		handles[i] = metric;
	end
end
local private_after, lua_after = read();

print("private\t" .. (private_after - private_before) / series);
print("lua\t" .. (lua_after - lua_before) / series);
-- What was measured was still in use.
assert(#handles == (held and series or 0) and registry.families.bench_memory == family);
os.exit(0, false); -- without taking it all apart
