-- Lua states that are opened and closed in one process, and what is to be left of them: nothing.

-- The beginning of a program for a state of its own, which may be alone in this process.
local function surroundings(run, alone)
	return ([[
		local t = require "exits.tools";
		t.alone = %s;
		local around = t.served_surroundings(%d);
		around.path = around.path .. tostring({}):match("%%w+$");
	]]):format(tostring(alone), run);
end

-- Ends as the surroundings say, in the end always by its state's.
local function whole(run, alone)
	return surroundings(run, alone) .. [[
		rawset(_G, "stats", t.begin(around));
		t.tell(around, around.closed);
		t.disconnect(around);
		if around.run % 7 == 0 then
			error("an error on purpose");
		end
	]];
end

-- The least that has threads. Over TCP each of them waits for an acknowledgement, which takes the kernel 40 ms.
local function brief(run)
	local scheme = run % 20 == 0 and "tcp" or "udp";
	local server = os.getenv("EXITS_" .. scheme:upper());
	return ([[
		local scheme, server, here, closes, exports = %q, %q, %q, %s, %s;
		stats = require "metre".new({
			statsd = scheme .. "://" .. server;
			exporter = exports and "unix:" .. here .. "/metrics" .. tostring({}):match("%%w+$") or nil;
		});
		stats.metric_registry:counter("exits"):with_labels():add(1);
		stats:flush();
		if closes then
			stats:close();
		end
	]]):format(scheme, server, os.getenv("EXITS_DIR"), tostring(run % 5 == 0), tostring(run % 3 == 0));
end

-- Nothing but the native module, a family and a page.
local function unstarted()
	return [[
		local stats = require "metre".new();
		stats.metric_registry:counter("c"):with_labels():add(1);
		stats.metric_registry:render();
	]];
end

local function resident_kilobytes()
	local statm = assert(io.open("/proc/self/statm"));
	local _, pages = statm:read("*n", "*n");
	statm:close();
	return pages * 4;
end

-- Runs a program in as many states, and checks after each. Each of them counts something, or none does.
local function one_by_one(name, count, program, counts)
	return { name = name, run = function (t, run)
		local before = t.tally();
		local early;
		for number = 1, count do
			local problem = t.host.state(program(run * count + number, true));
			t.check(not problem or problem:find("on purpose", 1, true), problem);
			t.settles(before, "state " .. number);
			if number == math.floor(count / 2) then
				early = resident_kilobytes();
			end
		end
		local grown = resident_kilobytes() - early;
		-- A provider has some 200 kB, so what one in ten of many states left would be seen.
		t.check(count < 300 or grown < 2000, ("grown by %d kB in the second half"):format(grown));
		t.say("sent", counts and count or 0);
	end };
end

local function side_by_side(name, threads, rounds, program, counts)
	return { name = name, run = function (t, run)
		local before = t.tally();
		local problem = t.host.threads(threads, rounds, program(run, false));
		t.check(not problem or problem:find("on purpose", 1, true), problem);
		t.settles(before, "all states");
		t.say("sent", counts and threads * rounds or 0);
	end };
end

return {
	one_by_one("300, one after the other", 300, brief, true);
	one_by_one("20, one after the other, with clients", 20, whole);
	one_by_one("50, nothing started", 50, unstarted);
	side_by_side("4 threads with 10 states each", 4, 10, brief, true);
	side_by_side("4 threads with 4 states each, with clients", 4, 4, whole);
	side_by_side("8 threads with 10 states each, nothing started", 8, 10, unstarted);
	{
		name = "loaded by a coroutine that died", run = function (t, run)
			local around = t.surroundings(run);
			around.closing = "never";
			local stats = coroutine.wrap(function () return t.begin(around); end)();
			for _ = 1, 20 do
				collectgarbage();
				coroutine.wrap(function () for _ = 1, 200 do local _ = {}; end end)();
			end
			local family = stats.metric_registry:counter("c", "", "", { "a" });
			for _ = 1, 20 do
				t.check(not pcall(family.with_labels, family), "no error");
				t.check(not pcall(stats.metric_registry.histogram, stats.metric_registry, "h"), "no error");
				t.check(not require "metre".new({ bogus = 1 }), "no error");
				t.check(not coroutine.wrap(function () return pcall(family.with_labels, family, "a", "b"); end)(), "no error");
			end
			family:with_labels("x"):add(1);
			t.check(stats.metric_registry:render():find("c_total", 1, true), "no page");
			t.tell(around, false);
		end;
	};
	{
		name = "loaded by a coroutine that died, in a state of its own", run = function (t, run)
			local before = t.tally();
			for number = 1, 10 do
				local problem = t.host.state(surroundings(run * 10 + number, true) .. [[
					local stats = coroutine.wrap(function () return t.begin(around); end)();
					t.collect();
					local metre = coroutine.wrap(function () return require "metre"; end)();
					t.collect();
					t.check(not metre.new({ bogus = 1 }), "no error");
					if stats then
						t.check(not pcall(stats.metric_registry.histogram, stats.metric_registry, "h"), "no error");
					end
					t.tell(around, around.closed);
					t.disconnect(around);
				]]);
				t.check(not problem, problem);
				t.settles(before, "state " .. number);
			end
		end;
	};
}
