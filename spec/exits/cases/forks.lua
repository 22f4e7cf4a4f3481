-- Forks while metre's threads run: the child may use the provider and ends, the parent goes on.

-- A child has so long, in milliseconds: one that waits for what a thread had locked waits for ever.
local limit = 60000;

-- All that can be done with a provider, in a process where its threads don't exist.
local function use(t, stats, number)
	local registry = stats.metric_registry;
	for round = 1, 5 do
		local who = "child" .. number .. "-" .. round;
		local family = registry:counter("of_a_child" .. round % 3, "", "", { "who" });
		family:with_labels(who):add(1);
		registry:histogram("times" .. number .. round, "", "", {}, { buckets = { 1, 2 } }):with_labels():sample(1);
		registry:gauge("exits_gauge", "", "", { "who" }):with_labels(who):set(round);
		stats:cork();
		registry:gauge("exits_gauge", "", "", { "who" }):with_labels(who):set(round + 1);
		stats:uncork();
	end
	-- Replaces a family, and has a metric log something.
	registry:gauge("replaced", "", "", { "a" .. number });
	registry:counter("exits", "", "", { "who" }):with_labels("w1"):add(1);
	registry:counter("exits", "", "", { "who" }):clear();
	t.check(registry:render():find("# EOF\n", 1, true), "no page in the child");
	local flushed, why = stats:flush();
	t.check(flushed == false and why == "it runs in the process that this one forked off from", "it runs in the child");
end

-- The ways a child ends. What Lua states or stdio do at the end is part of it, but for the last.
local ways = {
	function () os.exit(0); end;
	function (t) t.exit(0, true); end;
	function (t, stats)
		stats:close();
		stats:close();
		t.exit(0, true);
	end;
	function (t, stats)
		stats.metric_registry = nil;
		t.collect();
		os.exit(0);
	end;
	function (t) t.host.leave(0); end;
};

local function way_out(t, number, stats)
	ways[number % #ways + 1](t, stats);
	t.host.leave(98);
end

-- Forks; the child runs f and then ends in one of the ways. Returns its pid.
local function fork(t, number, stats, f)
	local pid = t.host.fork();
	if pid == 0 then
		local ok, why = pcall(f);
		if not t.check(ok, why) then
			t.host.leave(97);
		end
		way_out(t, number, stats);
	end
	return pid;
end

local function expect(t, pid, how, code, what)
	local got, number = t.host.reap(pid, limit);
	t.check(got == how and number == code, ("%s: %s %d"):format(what, got, number));
end

-- Clients that scrape without a pause, each a process of its own that is there before any thread. Returns a function that ends them.
local function scrapers(t, path, count)
	local pids = {};
	for number = 1, count do
		pids[number] = t.host.fork();
		if pids[number] == 0 then
			while true do
				local fd = t.host.connect(path);
				if fd then
					t.host.send(fd, "GET /metrics HTTP/1.0\r\n\r\n");
					while (t.host.receive(fd) or "") ~= "" do end -- luacheck: ignore 542
					t.host.close(fd);
				else
					t.host.pause(1);
				end
			end
		end
	end
	return function ()
		for _, pid in ipairs(pids) do
			t.host.kill(pid, 9);
			t.host.reap(pid, limit);
		end
	end;
end

local function children(name, count, f)
	return { name = name, run = function (t, run)
		local around = t.served_surroundings(run);
		around.closing = "never";
		local before = t.tally();
		local stats = t.begin(around);
		for number = 1, count do
			local pid = fork(t, run + number, stats, function () f(t, around, stats, number); end);
			t.count(around, stats, 10);
			expect(t, pid, "exit", 0, "the child");
		end
		t.scrape(around.path);
		t.check(stats:flush());
		stats:close();
		t.disconnect(around);
		t.settles(before, "the parent");
		t.tell(around, true);
	end };
end

-- Under load: threads are busy with pages and pushes whenever a fork happens.
local function under_load(name, forks, scraper_count, more)
	return { name = name, run = function (t, run)
		local around = t.served_surroundings(run);
		around.closing, around.client = "never", "none";
		local stop_scrapers = scrapers(t, around.path, scraper_count);
		local before = t.tally();
		local config = t.config(around);
		config.statsd.flush_interval = 0.1;
		config.statsd.histograms = run % 2 == 0 and "timing" or nil;
		local stats = assert(require "metre".new(config));
		stats:flush();
		local registry = stats.metric_registry;
		-- A thread looks at each of these for every page and every push; the child is their first writer.
		local empty = {};
		for number = 1, 150 do
			empty[number] = registry:counter("empty" .. number, "", "", { "who" });
		end
		for number = 1, forks do
			registry:counter("family" .. number, "", "", { "a" }):with_labels("x"):add(1);
			local many = registry:histogram("many", "", "", { "number" }, { buckets = { 1, 2, 3 } });
			for sample = 1, 20 do
				many:with_labels(tostring(number * 20 + sample)):sample(2);
			end
			t.count(around, stats, 10);
			local pid = fork(t, run + number, stats, function ()
				for _, family in ipairs(empty) do
					family:with_labels("x"):add(1);
				end
				use(t, stats, number);
			end);
			if more then
				more(t, stats);
			end
			expect(t, pid, "exit", 0, "child " .. number);
		end
		stop_scrapers();
		stats:close();
		t.settles(before, "the parent");
		t.tell(around, true);
	end };
end

return {
	children("a child uses it", 5, function (t, _, stats, number) use(t, stats, number); end);
	children("a child does nothing", 5, function () end);
	children("a child forks again", 3, function (t, _, stats, number)
		use(t, stats, number);
		local pid = fork(t, number, stats, function () use(t, stats, number + 10); end);
		expect(t, pid, "exit", 0, "the grandchild");
	end);
	children("a child has a provider of its own", 3, function (t, around, _, number)
		local own = t.served_surroundings(around.run + number);
		own.path, own.closing = around.path .. "c" .. number, "never";
		local stats = t.begin(own);
		stats:close();
		t.tell(own, true);
	end);
	children("a child collects what it has inherited", 3, function (t, _, stats)
		stats.metric_registry, stats._native = nil, nil;
		t.collect();
		t.exit(0, true);
	end);
	under_load("in a loop, under load", 12, 1);
	under_load("in a loop, under load, used meanwhile", 6, 1, function (t, stats)
		for _ = 1, 3 do
			stats.metric_registry:render();
			t.check(stats:flush());
		end
	end);
	{
		-- As a daemon does it; what was counted before belongs to it.
		name = "a daemon starts it after the second fork", run = function (t, run)
			local around = t.served_surroundings(run);
			around.closing, around.client = "never", "none";
			local stats = assert(require "metre".new(t.config(around)));
			t.count(around, stats, 10);
			local child = t.host.fork();
			if child ~= 0 then
				expect(t, child, "exit", 0, "the child");
				t.host.leave(0);
			end
			t.host.setsid();
			if t.host.fork() ~= 0 then
				t.exit(0, run % 2 == 0);
			end
			t.count(around, stats, 10);
			t.check(stats:flush());
			t.scrape(around.path);
			stats:close();
			t.tell(around, true);
		end;
	};
	{
		-- Then the provider stays with the first process, whose threads end with it.
		name = "a daemon starts it before the first fork", run = function (t, run)
			local around = t.served_surroundings(run);
			around.closing = "never";
			local stats = t.begin(around);
			if t.host.fork() ~= 0 then
				stats:close();
				t.tell(around, true);
				t.exit(0, run % 2 == 0);
			end
			t.host.setsid();
			use(t, stats, run);
			way_out(t, run, stats);
		end;
	};
	{
		name = "a child is killed by a signal", run = function (t, run)
			local around = t.served_surroundings(run);
			around.closing = "never";
			local stats = t.begin(around);
			local signals = { 15, 2, 1, 3 };
			for number, signal in ipairs(signals) do
				-- Lua's own handler for SIGINT would raise an error.
				t.host.default(signal);
				local pid = t.host.fork();
				if pid == 0 then
					while true do
						use(t, stats, number);
					end
				end
				t.host.pause(5); -- in the middle of whatever it does
				t.host.kill(pid, signal);
				expect(t, pid, "signal", signal, "the child");
				t.count(around, stats, 10);
			end
			stats:close();
			t.tell(around, true);
		end;
	};
}
