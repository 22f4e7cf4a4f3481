-- Finalizers that raise errors, wherever Lua runs them; and what the collector does beside the calls that go through mlua.

local newproxy = rawget(_G, "newproxy"); -- Lua 5.1 and LuaJIT

local function finalized(f)
	if newproxy then
		getmetatable(newproxy(true)).__gc = f;
	else
		setmetatable({}, { __gc = f });
	end
end

local waiting = 0;

local function fail()
	waiting = waiting - 1;
	error("on purpose", 0);
end

local function call(f, ...)
	collectgarbage("stop");
	for _ = 1, 20 do
		finalized(fail);
		waiting = waiting + 1;
	end
	collectgarbage("restart");
	f(...);
end

-- Calls f with many objects about that raise an error when they are collected, which older Luas raise wherever something is allocated.
local function amid_errors(f, ...)
	local ok, err = pcall(call, f, ...);
	collectgarbage("stop");
	assert(ok or type(err) == "userdata" or err:find("on purpose", 1, true), err);
end

local function collect()
	local tries = 0;
	repeat
		pcall(collectgarbage);
		tries = tries + 1;
	until waiting <= 0 or tries == 10000;
	collectgarbage("restart");
	assert(waiting <= 0, "not everything is finalized");
end

-- What comes to nothing is logged.
package.preload["util.logger"] = function ()
	return { init = function () return function () end; end };
end

local function new()
	return assert(require "metre".new({ self_metrics = false, process_metrics = false })).metric_registry;
end

local registry = new();
registry:counter("c"):with_labels():add(1);

-- The module's opening, where it lies.
local open;
for template in package.cpath:gmatch("[^;]+") do
	local name = "metre_lua" .. _VERSION:gsub("%D", "");
	open = open or package.loadlib(template:gsub("%?", name), "luaopen_" .. name);
end

-- Calls that go through mlua are good or, if Lua says so, come to nothing; then there is an empty page.
local calls = {
	function ()
		local page = registry:render();
		assert(page == "# EOF\n" or page:find("\nc_total 1", 1, true), page);
	end;
	function (round) registry:counter("c" .. round, "", "", { "a" }):with_labels("x"):add(1); end;
	function () assert(type(open()) == "table"); end;
};
collectgarbage("setpause", 100);
collectgarbage("setstepmul", newproxy and 0 or 1000); -- without a limit; 0 is none to later Luas
for round = 1, 30 do
	for i = 1, #calls do
		amid_errors(calls[i], round);
	end
end
collect();
assert(registry:render():find("\nc_total 1", 1, true));
collectgarbage("setpause", 200);
collectgarbage("setstepmul", 200);

-- Pages don't keep the collector from its work: all of them are 10 MB.
local family = registry:gauge("g", "", "", { "a" });
for i = 1, 200 do
	family:with_labels("series" .. i):set(1);
end
collect();
local before, most = collectgarbage("count"), 0;
local changing = family:with_labels("series1");
for i = 1, 1000 do
	changing:set(i); -- equal pages would be the same string
	registry:render();
	most = math.max(most, collectgarbage("count"));
end
assert(most < 3 * before + 1000, "from " .. before .. " kB to " .. most .. " kB");

-- Where one can be asked, a program's own wish is respected. (Lua 5.1 takes the question for a wrong one.)
local known, running = pcall(collectgarbage, "isrunning");
if known then
	assert(running);
	collectgarbage("stop");
	registry:render();
	assert(not collectgarbage("isrunning"));
	collectgarbage("restart");
	registry:render();
	assert(collectgarbage("isrunning"));
end

-- One finalizer at a time, however much each asks of metre.
local small, depth, deepest = new(), 0, 0;
waiting = 500;
for _ = 1, waiting do
	finalized(function ()
		waiting, depth = waiting - 1, depth + 1;
		deepest = math.max(deepest, depth);
		local text = "";
		for _ = 1, 20 do
			local page = small:render();
			assert(page:find("# EOF\n", 1, true));
			text = text .. page:sub(1, 10);
		end
		depth = depth - 1;
	end);
end
collect();
assert(deepest == 1, deepest);

print "fine";
