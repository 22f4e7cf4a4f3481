-- Every kind of value that Lua code can hand over, again and again different.

local trace = require "fuzz.trace";

local newproxy = rawget(_G, "newproxy"); -- Lua 5.1 and LuaJIT
local unpack = rawget(table, "unpack") or rawget(_G, "unpack");

local plain = {
	true, false, 0, 1, -1, 2, 7, -0.0, 0.5, 1/0, -1/0, 0/0, 5e-324, 2.2e-308, 1.7976931348623157e308, 2^31 - 1, 2^31, -2^31 - 1, 2^53,
	2^53 + 2, 2^63, -2^63, 2^64, 1e15,
	"", "x", "y", "5", " 0x10 ", "1e400", "nan", "inf", "-5", "0x", "1 2", "9223372036854775808",
	"value", "_created", "_sum", "_count", "count", "threshold", "threshold_s", "n", "set", "le", "quantile", "__name__", "host", "overflow",
	"a", "b", "a.b", "a_b", "# EOF", "\0", "x\0y", "\n", '"', "\\", "\255", "\192\128", "\237\160\128", "\244\144\128\128",
	"gr\195\182\195\159e", "gauge", "counter", "histogram", "summary", "nonsense", "k", "v", "restart",
	"udp://127.0.0.1:9", "127.0.0.1:0", "1h", "fuzz_*",
	-- What could be taken for the label values that metre has encoded.
	"\1x", "\1x\1y", "\5ab", "\129\0x", "\128\128\128\128\128\128\128\128\128\128\128\128\1", "\255\255\255\255\255\255\255\255\255\1x",
};
if math.mininteger then
	for _, number in ipairs { math.mininteger, math.maxinteger, math.maxinteger - 1, math.tointeger(2^53) } do
		table.insert(plain, number);
	end
end

local long = { ("l"):rep(300), ("\255"):rep(200), ("x\n"):rep(5000), ("0"):rep(70000) .. "1" };

local lists = {
	{}, { 1 }, { "a" }, { "a", "b" }, { "a", "a" }, { 1, 2, 3 }, { 3, 1, 0/0, "x", 2, 2 }, { n = 3 }, { [0] = 1, [2] = 2 }, { {}, {} },
	{ false }, { math.huge }, { buckets = { 1, 2, 5 } }, { buckets = {} }, { buckets = "x" },
	{ kind = "gauge", name = "raw", unit = "", help = "", label_keys = {} },
	{ kind = "histogram", name = "raw_h", unit = "s", help = "x", label_keys = { "a" }, buckets = { 2, 1, "z" } }, { kind = "x" },
	{ kind = "counter", name = "raw_c", unit = "", help = "", label_keys = { 1, {} } },
};

local functions = {
	type, tostring, error, pcall, coroutine.yield, string.len, function () end, function (...) return ...; end, next, setmetatable, assert,
	coroutine.wrap(function () end), collectgarbage, rawget,
};

local metamethods = {
	"__index", "__newindex", "__call", "__tostring", "__len", "__eq", "__lt", "__le", "__concat", "__unm", "__add", "__pairs", "__ipairs",
	"__gc", "__close", "__name", "__metatable", "__mode",
};
if _VERSION == "Lua 5.4" then
	metamethods[9] = "__sub"; -- see ways.lua
end

return function (world)
	local random = world.random;
	local values = {};
	for _, call in ipairs(functions) do
		world.protected[call] = true;
	end

	-- An error value of our own; the one who raises it gets it back as it is.
	function values.own_error()
		local object = setmetatable({}, { __tostring = random:below(2) == 0 and error or nil });
		world.raised[object] = true;
		return object;
	end

	-- What code of the caller's does when it is called in the middle of something.
	local behaviours = {
		function () error(values.own_error(), 0); end,
		function () error("raised on purpose"); end,
		function () error(4711, 0); end,
		function () coroutine.yield("yielded"); end,
		function () collectgarbage(); end,
		function () collectgarbage("step", 10); end,
		function () return values.pick(); end,
		function () return values.pick(), values.pick(), values.pick(); end,
		function () return "text"; end,
		function (self) return self; end,
		function () return 3; end,
		function () world.again(); end,
		function () world.again(); return "again"; end,
		function (self) return tostring(self); end, -- may recurse
		function () end,
	};

	function values.behaviour()
		local behave = random:pick(behaviours);
		-- Not without end: a behaviour may lead to itself.
		return function (...)
			world.budget = world.budget - 1;
			if world.budget > 0 then
				return behave(...);
			end
		end
	end

	-- A table with hostile metatables.
	function values.hostile(content)
		local metatable = {};
		world.hostile[metatable] = true;
		for _ = 1, 1 + random:below(4) do
			local name = random:pick(metamethods);
			local value = values.behaviour();
			if name == "__name" or name == "__metatable" or name == "__mode" or random:below(12) == 0 then
				value = random:pick(plain);
			end
			if name == "__mode" then
				value = "k";
			end
			-- A finalizer that raises makes Lua 5.2 and 5.3 raise from any allocation, which is not what is looked at here.
			metatable[name] = name == "__gc" and function () world.finalized(); end or value;
		end
		if random:below(6) == 0 then
			metatable.__index = random:below(2) == 0 and metatable or values.ours(true) or nil;
		end
		return setmetatable(content or {}, metatable);
	end

	local function nested(depth)
		local table_ = {};
		for _ = 1, random:below(4) do
			local key = random:pick(plain);
			table_[key == key and key or "nan"] = depth > 0 and nested(depth - 1) or random:pick(plain);
		end
		if random:below(8) == 0 then
			table_[1] = table_;
		end
		return table_;
	end
	values.nested = nested;

	local function thread()
		local which = random:below(4);
		if which == 0 then
			return (coroutine.running());
		end
		local made = coroutine.create(which == 1 and function () coroutine.yield(); end or function () error("dead"); end);
		if which < 3 then
			coroutine.resume(made, 1);
		end
		return made;
	end

	local function foreign()
		if newproxy and random:below(2) == 0 then
			return newproxy(random:below(2) == 0);
		end
		return random:pick { io.stdout, io.stderr, world.closed_file, coroutine.create(function () end) };
	end

	-- One of metre's objects, of whatever provider. Those that the model looks after only where nothing is done to them.
	function values.ours(as_self)
		local subject = world:pick_subject();
		if not as_self and random:below(6) == 0 and world.model then
			return world.model:any_object();
		end
		return subject and subject.value;
	end

	function values.string()
		local which = random:below(12);
		if which == 0 then
			return random:pick(long);
		elseif which == 1 then
			local bytes = {};
			for i = 1, random:below(12) do
				bytes[i] = string.char(random:below(256));
			end
			return table.concat(bytes);
		end
		return "v" .. random:below(30);
	end

	-- Any value at all; as_self: for the first argument.
	function values.pick(as_self)
		local which = random:below(20);
		if which < 7 then
			return random:pick(plain);
		elseif which < 9 then
			return values.string();
		elseif which == 9 then
			return nil;
		elseif which == 10 then
			return values.hostile();
		elseif which == 11 then
			return random:pick(lists);
		elseif which == 12 then
			return random:pick(functions);
		elseif which == 13 then
			return random:below(3) == 0 and thread() or foreign();
		elseif which == 14 then
			return random:below(3) == 0 and nested(3) or values.behaviour();
		elseif which == 15 then
			local found = world:pick_function();
			return found and found.call;
		end
		return values.ours(as_self);
	end

	-- How many: mostly a few, sometimes as many as Lua takes.
	local function count()
		local which = random:below(400);
		if which > 8 then
			return random:below(7);
		elseif which > 0 then
			return 15 + random:below(250);
		end
		return random:pick { 1000, 7000, _VERSION == "Lua 5.1" and 7800 or 60000 };
	end

	-- Arguments with `self` first, unless that is nil.
	function values.arguments(self, with_self)
		local list = { n = count() };
		for i = 1, list.n do
			if i > 12 then
				list[i] = i % 3 == 0 and "x" or i;
			else
				list[i] = values.pick(i == 1);
			end
		end
		if with_self then
			list[1] = self;
			list.n = math.max(list.n, 1);
		end
		return list;
	end

	function values.unpack(list)
		return unpack(list, 1, list.n);
	end

	function values.name(value, name)
		local kind = type(value);
		if kind ~= "string" and kind ~= "number" and kind ~= "boolean" and value ~= nil and not trace.names[value] then
			trace.names[value] = name;
		end
	end

	return values;
end
