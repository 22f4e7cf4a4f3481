-- One process of benches/instructions.py, run by valgrind: does a call many times.
--
-- Usage: lua instructions.lua
-- prints each call's name, a tab, and how many times it is done.
--
-- Usage: lua instructions.lua PROVIDER NUMBER
-- does the call of that number. Pages are counted by the series that are on them.

local labels = { "host", "type", "ip_family" };
local seven = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };
local on_page = 250;
-- So that a page has nothing else.
local nothing_else = { self_metrics = false, process_metrics = false };

local calls = {};

-- A call, and a function of a provider that returns the function to count.
local function call(name, times, prepare)
	calls[#calls + 1] = { name = name, times = times, prepare = prepare };
end

local function family(new, kind)
	local registry = new({});
	return registry[kind](registry, "bench", "", "", labels, kind == "histogram" and { buckets = seven } or nil);
end

local function handle(new, kind)
	return family(new, kind):with_labels("example.org", "c2s", "ipv4");
end

call("counter add", 1e5, function (new)
	local m = handle(new, "counter");
	return function (n) for _ = 1, n do m:add(1); end end
end);
call("gauge set", 1e5, function (new)
	local m = handle(new, "gauge");
	return function (n) for i = 1, n do m:set(i); end end
end);
call("gauge add", 1e5, function (new)
	local m = handle(new, "gauge");
	return function (n) for _ = 1, n do m:add(1); end end
end);
call("summary sample", 1e5, function (new)
	local m = handle(new, "summary");
	return function (n) for i = 1, n do m:sample(i); end end
end);
call("histogram sample, 7 buckets", 1e5, function (new)
	local m = handle(new, "histogram");
	return function (n) for i = 1, n do m:sample(i % 100 / 10); end end
end);
call("with_labels of 3", 5e4, function (new)
	local f = family(new, "counter");
	return function (n) for _ = 1, n do f:with_labels("example.org", "c2s", "ipv4"); end end
end);
call("partial label + 2", 5e4, function (new)
	local f = family(new, "counter"):with_partial_label("example.org");
	return function (n) for _ = 1, n do f:with_labels("c2s", "ipv4"); end end
end);
call("field read", 1e5, function (new)
	local f = new({}):gauge("bench", "", "");
	return function (n) for _ = 1, n do local _ = f.data.value; end end
end);
call("new series of 2 labels", 2e4, function (new)
	local f = new({}):counter("bench", "", "", { "host", "user" });
	local user = 0;
	return function (n)
		for _ = 1, n do
			user = user + 1;
			f:with_labels("example.org", "user" .. user);
		end
	end
end);

local function render(name, kind, update)
	call(name, 2 * on_page, function (new)
		local registry = new(nothing_else);
		local f = registry[kind](registry, "bench", "", "", labels, { buckets = seven });
		for i = 1, on_page do
			local metric = f:with_labels("example.org", "c2s", "user" .. i);
			metric[update](metric, i);
		end
		return function (n) for _ = 1, n, on_page do registry:render(); end end
	end);
end
render("render, a counter series of 3 labels", "counter", "add");
render("render, a 7-bucket histogram", "histogram", "sample");

-- Once, since nothing is loaded a second time.
call("require and new", 1, function (new)
	return function (n) for _ = 1, n do new({}); end end
end);

if not arg[1] then
	for _, of in ipairs(calls) do
		print(("%s\t%d"):format(of.name, of.times));
	end
else
	local of = calls[tonumber(arg[2])];
	local counted = of.prepare(require "providers"[arg[1]]);
	counted(of.times // 10); -- what only the first ones do isn't counted
	collectgarbage();
	-- valgrind reads its counter wherever lua_warning is called, which nobody else does.
	warn("@begin");
	counted(of.times);
	warn("@end");
	os.exit(0, false);
end
