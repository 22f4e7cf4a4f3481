-- Where a call can come from: coroutines, finalizers, metamethods, callbacks of Lua's own functions, hooks, the end of the stack.

local unpack = rawget(table, "unpack") or rawget(_G, "unpack");
local newproxy = rawget(_G, "newproxy");
local load_by_function = load;

-- Debian 12's LuaJIT crashes where a finalizer raises while a trace ends (`lj_trace_exit` calls `lj_gc_step`).
-- Later ones raise nothing out of finalizers.
local function finalized(f)
	if newproxy then
		local proxy = newproxy(true);
		getmetatable(proxy).__gc = rawget(_G, "jit") and function (...) pcall(f, ...); end or f;
		return proxy;
	end
	return setmetatable({}, { __gc = f });
end

local function with(name, f)
	return setmetatable({}, { [name] = f });
end

-- A function that runs it, the first time that it is called.
local function once(run)
	local ran = false;
	return function ()
		if not ran then
			ran = true;
			run();
		end
	end
end

-- Each runs what it is given, once if nothing goes wrong. Those in `plain` never cut it short by themselves.
local plain = {};

function plain.here(run) run(); end
function plain.coroutine(run) coroutine.wrap(run)(); end
function plain.coroutines(run)
	coroutine.wrap(function () coroutine.wrap(function () coroutine.wrap(run)(); end)(); end)();
end
function plain.after_yield(run)
	local resume = coroutine.wrap(function () coroutine.yield(); run(); end);
	resume();
	resume();
end
function plain.protected(run) assert(pcall(pcall, run)); end
function plain.error_handler(run) xpcall(error, function () run(); end); end
function plain.sort(run)
	local first = once(run);
	table.sort({ 2, 1 }, function (a, b)
		first();
		return a < b;
	end);
end
function plain.gsub(run) string.gsub("x", ".", function () run(); end); end
function plain.load(run) load_by_function(once(run)); end
function plain.index(run) return with("__index", function () run(); end).x; end
function plain.newindex(run) with("__newindex", function () run(); end).x = 1; end
function plain.call(run) with("__call", function () run(); end)(); end
function plain.concat(run) return with("__concat", function () run(); end) .. "x"; end
function plain.add(run) return with("__add", function () run(); end) + 1; end
function plain.unm(run) return -with("__unm", function () run(); end); end
function plain.less(run)
	local object = with("__lt", function () run(); end);
	return object < setmetatable({}, getmetatable(object));
end
function plain.equal(run)
	local object = with("__eq", function () run(); end);
	return object == setmetatable({}, getmetatable(object));
end
function plain.tostring(run) return tostring(with("__tostring", function () run(); return "x"; end)); end
function plain.iterator(run)
	for _ in function (_, last) if not last then run(); return 1; end end do end -- luacheck: ignore 542
end
function plain.finalizer(run)
	local first = once(run);
	finalized(first);
	collectgarbage();
	collectgarbage();
	-- In a finalizer of another one, or where collecting is stopped, nothing is finalized by now.
	first();
end
function plain.in_allocation(run)
	local first = once(run);
	finalized(first);
	collectgarbage("step", 0);
	for i = 1, 50 do
		local _ = { i, tostring(i) .. "x" };
	end
	first();
end
if _VERSION == "Lua 5.4" then
	local closing = load("local run = ... local x <close> = setmetatable({}, { __close = function () run(); end })");
	local closing_by_error = load([[
		local run = ...
		pcall(function () local x <close> = setmetatable({}, { __close = function () run(); end }); error("x") end)
	]]);
	local closing_coroutine = load([[
		local run = ...
		local made = coroutine.create(function () local x <close> = setmetatable({}, { __close = function () run(); end }); coroutine.yield() end)
		coroutine.resume(made)
		assert(coroutine.close(made))
	]]);
	plain.close, plain.close_by_error, plain.close_coroutine = closing, closing_by_error, closing_coroutine;
end

-- Those that may keep it from running, or end it anywhere.
local rough = {};

-- As many calls inside each other as Lua takes, each by `call`, which is given the next one; and then `run` while they return.
local function deep(run, call)
	local left = 3;
	local function down()
		local ok = pcall(call, down);
		if not ok and left > 0 then
			left = left - 1;
			run();
		end
	end
	down();
end

function rough.deep_in_c(run)
	deep(run, function (down) string.gsub("x", ".", down); end);
end

function rough.deep_in_coroutines(run)
	deep(run, function (down) coroutine.wrap(down)(); end);
end

-- At each of the last places on Lua's stack. LuaJIT's collector stands still there, for the reason given at `finalized`: any
-- finalizer raises where the stack ends.
function rough.deep_in_lua(run, random)
	local stopped = rawget(_G, "jit") and collectgarbage("isrunning");
	if stopped then
		collectgarbage("stop");
	end
	local left = 3 + random:below(5);
	local pad = random:below(40);
	local function down(...)
		local ok = pcall(down, ...);
		if not ok and left > 0 then
			left = left - 1;
			run();
		end
	end
	local padding = {};
	for i = 1, pad do
		padding[i] = i;
	end
	local ok, err = pcall(coroutine.wrap(function () down(unpack(padding, 1, pad)); end));
	if stopped then
		collectgarbage("restart");
	end
	if not ok then
		error(err, 0);
	end
end

-- Runs it with a hook that raises an error after a while, at most once and not after this.
local function with_raising_hook(run, world, mask, number, left)
	local armed = true;
	debug.sethook(function ()
		left = left - 1;
		if armed and left <= 0 then
			armed = false;
			error(world.values.own_error(), 0);
		end
	end, mask, number);
	local ok, err = pcall(run);
	armed = false;
	debug.sethook();
	if not ok then
		error(err, 0);
	end
end

-- An error at any instruction.
function rough.count_hook(run, random, world)
	with_raising_hook(run, world, "", 1 + random:below(300), 1);
end

-- An error at a call of any function or its return.
function rough.call_hook(run, random, world)
	with_raising_hook(run, world, random:pick { "c", "r", "cr", "l" }, 0, 1 + random:below(40));
end

-- Something else happens at each call.
function rough.busy_hook(run, random, world)
	local left = 1 + random:below(30);
	debug.sethook(function ()
		left = left - 1;
		if left == 0 then
			debug.sethook();
			world.again();
		end
	end, random:pick { "c", "r", "l" });
	run();
end

-- While metre tells what it has refused, and while that is logged.
function rough.notice(run, _, world)
	world.native.on_notice(function () run(); end);
	world:provoke_notice();
	world.reset_notices();
end

function rough.log(run, _, world)
	world.on_log = run;
	world:provoke_notice();
	world.on_log = nil;
end

-- Ways for Lua to call the very function, with arguments of Lua's choice.
local direct = {};

function direct.coroutine(f, list, random)
	local made = coroutine.create(f);
	local results = { coroutine.resume(made, unpack(list, 1, list.n)) };
	if random:below(2) == 0 then
		coroutine.resume(made);
	end
	if not results[1] then
		error(results[2], 0);
	end
end
function direct.index(f, list) return with("__index", f)[list[1] == nil and 1 or list[1]]; end
function direct.newindex(f, list) with("__newindex", f)[1] = list[1]; end
function direct.call(f, list) return with("__call", f)(unpack(list, 1, list.n)); end
function direct.concat(f, list) return with("__concat", f) .. (type(list[1]) == "string" and list[1] or "x"); end
function direct.length(f) return #with("__len", f); end
function direct.equal(f) return with("__eq", f) == with("__eq", f); end
function direct.less(f) return with("__lt", f) < with("__lt", f); end
function direct.tostring(f) return tostring(with("__tostring", f)); end
function direct.pairs(f) for _ in pairs(with("__pairs", f)) do break; end end -- luacheck: ignore 512
function direct.iterator(f, list)
	local rounds = 0;
	for _ in f, list[1], list[2] do
		rounds = rounds + 1;
		if rounds > 5 then
			break;
		end
	end
end
function direct.sort(f, list) table.sort({ list[1] or 1, 2, 3 }, f); end
function direct.gsub(f) string.gsub("xyz", ".", f); end
function direct.load(f)
	local pieces = 0;
	load_by_function(function (...)
		pieces = pieces + 1;
		if pieces <= 5 then
			return f(...);
		end
	end);
end
function direct.handler(f, list) xpcall(error, f, list[1]); end
-- In a coroutine of its own, since a hook that raises keeps one from taking it off. LuaJIT has one hook for all coroutines.
function direct.hook(f, _, random)
	local mask, number = random:pick { "c", "r", "l", "" }, 1 + random:below(20);
	local made = coroutine.create(function ()
		local _ = tostring(1) .. "x";
		for _ = 1, 5 do end -- luacheck: ignore
	end);
	local armed = true;
	if rawget(_G, "jit") then
		debug.sethook(function (...)
			if armed then
				armed = false;
				f(...);
			end
		end, mask, number);
	else
		debug.sethook(made, f, mask, number);
	end
	local ok, err = coroutine.resume(made);
	armed = false;
	if not ok then
		error(err, 0);
	end
end
function direct.finalizer(f)
	finalized(f);
	collectgarbage();
end
function direct.environment(f)
	if rawget(_G, "setfenv") and debug.getinfo(f, "S").what == "C" then
		_G.setfenv(f, {});
	end
end
function direct.dump(f) string.dump(f); end

-- In Debian 12's Lua 5.4.4 an operand's `__concat` must not have the stack moved, since `luaV_concat` goes on at its former
-- place (by the mend of CVE-2022-33099; mended in 5.4.5: "'luaV_concat' can use invalidated pointer to stack"). What runs here
-- moves it. No metatable of metre's has `__concat`.
if _VERSION == "Lua 5.4" then
	plain.concat, direct.concat = nil, nil;
end

local function names_of(ways)
	local names = {};
	for name in pairs(ways) do
		table.insert(names, name);
	end
	table.sort(names);
	return names;
end

return {
	plain = plain, rough = rough, direct = direct,
	plain_names = names_of(plain), rough_names = names_of(rough), direct_names = names_of(direct),
	finalized = finalized,
};
