-- What the cases share: a provider whose threads really run, in ever other surroundings, and what has to be true in the end.

local host = require "host";

local t = { host = host };

-- What the runner reads.
function t.say(...)
	io.stdout:write(table.concat({ ... }, " ") .. "\n"); -- at once: several states may share it
	io.stdout:flush();
end

-- Faults are said, not raised: some cases end by an error anyway. Takes what a function returns that says why it failed, too.
function t.check(ok, what)
	if not ok then
		t.say("fault:", tostring(what));
	end
	return ok;
end

-- Looks until it is so, for a minute at most.
function t.wait_for(what, condition, milliseconds)
	local limit = host.now() + (milliseconds or 60000);
	while not condition() do
		if host.now() > limit then
			return t.check(false, "waited in vain for " .. what);
		end
		host.pause(1);
	end
	return true;
end

-- What a process has of threads and open files.
function t.tally()
	return { threads = host.entries("/proc/self/task"), files = host.entries("/proc/self/fd") };
end

-- Whether what the process has tells something of this Lua state.
t.alone = true;

-- They are what they were. A thread that was joined is on the kernel's list for a moment more.
function t.settles(before, when)
	if not t.alone then
		return;
	end
	local now;
	local settled = function ()
		now = t.tally();
		return now.threads == before.threads and now.files == before.files;
	end;
	local limit = host.now() + 60000;
	while not settled() do
		if host.now() > limit then
			return t.check(false, ("%s: %d threads and %d files, not %d and %d"):format(when, now.threads, now.files,
				before.threads, before.files));
		end
		host.pause(1);
	end
end

local here = os.getenv("EXITS_DIR");

local servers = {
	{ name = "udp", server = "udp://" .. os.getenv("EXITS_UDP"), there = true };
	{ name = "udp, away", server = "udp://127.0.0.1:1", away = true };
	{ name = "tcp", server = "tcp://" .. os.getenv("EXITS_TCP"), there = true };
	{ name = "tcp, away", server = "tcp://127.0.0.1:1", away = true };
	{ name = "unixgram", server = "unixgram://" .. here .. "/statsd", there = true };
	{ name = "unixgram, away", server = "unixgram://" .. here .. "/nobody", away = true };
	-- Its look-up is a thread's that nobody can end.
	{ name = "a name that doesn't resolve", server = "udp://statsd.invalid", away = true, looks_up = true };
	{ name = "none" };
};

local clients = { "none", "idle", "half", "stuck", "served", "asking" };
local closings = { "never", "once", "twice", "collected" };

-- The surroundings of a run: 192 in all, neighbouring runs as different as can be.
function t.surroundings(run)
	local number = run * 37 % 192;
	return {
		run = run;
		server = servers[number % 8 + 1];
		client = clients[math.floor(number / 8) % 6 + 1];
		closing = closings[math.floor(number / 48) % 4 + 1];
		path = here .. "/metrics";
	};
end

-- Those in which nothing holds up the end, for what is done again and again.
function t.quick_surroundings(run)
	local around = t.surroundings(run);
	if around.client == "stuck" then
		around.client = "asking";
	end
	if around.server.looks_up then
		around.server = servers[1];
	end
	return around;
end

-- Those with a server that is there.
function t.served_surroundings(run)
	local around = t.quick_surroundings(run);
	around.server = servers[run % 3 * 2 + 1];
	return around;
end

local request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n";

-- All of an answer whose connection stays open, or what there is of it.
local function answer(fd)
	local text = "";
	repeat
		local more = host.receive(fd) or "";
		text = text .. more;
		local head, body = text:match("^(.-\r\n\r\n)(.*)$");
		local length = head and tonumber(head:match("[Cc]ontent%-[Ll]ength: (%d+)"));
	until more == "" or length and #body >= length;
	return text;
end

-- A page from an exporter.
function t.scrape(path)
	local fd;
	if not t.wait_for("the exporter", function () fd = host.connect(path); return fd; end) then
		return "";
	end
	host.send(fd, request);
	local page = answer(fd);
	host.close(fd);
	t.check(page:find("# EOF\n", 1, true), "half a page");
	return page;
end

-- A client of the exporter; returns its end of the connection.
local function connect(around)
	if around.client == "none" then
		return nil;
	end
	local fd;
	if not t.wait_for("the exporter", function () fd = host.connect(around.path); return fd; end) then
		return nil;
	end
	around.listened = true;
	if around.client == "half" then
		host.send(fd, request:sub(1, 20));
	elseif around.client ~= "idle" then
		host.send(fd, request);
	end
	if around.client == "stuck" then
		host.receive(fd); -- the beginning, and then no more
	elseif around.client == "served" then
		t.check(answer(fd):find("# EOF\n", 1, true), "half a page");
	end
	return fd;
end

-- Counts something; the runner hears later how much.
function t.count(around, stats, steps)
	local family = stats.metric_registry:counter("exits", "", "", { "who" });
	for step = 1, steps do
		family:with_labels("w" .. step % 10):add(1);
	end
	around.counted = (around.counted or 0) + steps;
end

-- To be called before the end. What was counted has to arrive, or may; whether the exporter's socket has to be gone.
function t.tell(around, closed)
	t.say("leaves");
	if around.server.there and around.counted then
		t.say(closed and "sent" or "maybe", ("%d"):format(around.counted));
	elseif around.server.away then
		t.say("away");
	end
	-- One that was closed before it listened may have left what an earlier process left there.
	if closed and around.listened then
		t.say("gone", around.path);
	end
end

-- A configuration for metre, as the surroundings say.
function t.config(around)
	return {
		exporter = "unix:" .. around.path;
		statsd = around.server.server and {
			server = around.server.server;
			flush_interval = around.run % 3 == 0 and 3600 or 0.1;
			histograms = around.run % 5 == 0 and "timing" or nil;
		};
	};
end

-- A provider that runs, with something counted and a client in the middle of something.
function t.provider(around)
	local stats = assert(require "metre".new(t.config(around)));
	local buckets = {};
	for i = 1, 100 do
		buckets[i] = i;
	end
	-- A page that is larger than a socket's buffer, but nothing to be pushed.
	local ballast = stats.metric_registry:histogram("ballast", "", "", { "number" }, { buckets = buckets });
	for number = 1, around.client == "stuck" and 100 or 1 do
		ballast:with_labels(("x"):rep(20) .. number);
	end
	t.count(around, stats, 50);
	stats:flush();
	around.fd = connect(around);
	t.count(around, stats, 50);
	stats.metric_registry:gauge("a_gauge"):with_labels():set(1);
	return stats;
end

-- The client goes.
function t.disconnect(around)
	if around.fd then
		host.close(around.fd);
		around.fd = nil;
	end
end

-- Has everything collected that nobody holds. What LuaJIT has compiled holds on to objects that it has seen.
function t.collect()
	if rawget(_G, "jit") then
		rawget(_G, "jit").flush();
	end
	for _ = 1, 5 do
		collectgarbage();
	end
end

-- now() without the time for which this thread was ready to run and others ran instead.
local function ran()
	local file = assert(io.open("/proc/thread-self/schedstat"));
	local waited = file:read("*l"):match("^%d+ (%d+)");
	file:close();
	return host.now() - tonumber(waited) / 1e6;
end

-- Makes a provider and closes it as the surroundings say; else returns it. Checks what is to be true when it has been closed.
function t.begin(around)
	local before = t.tally();
	local held = {};
	-- In a coroutine, so that nothing is left on this stack.
	coroutine.wrap(function ()
		local stats = t.provider(around);
		if around.closing == "once" or around.closing == "twice" then
			local start = ran();
			stats:close();
			t.check(ran() - start <= 3000, "close() took more than three seconds");
			if around.closing == "twice" then
				stats:close();
			end
		end
		if around.closing ~= "collected" then
			held.stats = stats;
		end
	end)();
	if around.closing == "collected" then
		t.wait_for("the threads of what was collected to end", function ()
			t.collect();
			return around.server.looks_up or not t.alone or host.entries("/proc/self/task") == before.threads;
		end);
	end
	if around.closing ~= "never" then
		t.disconnect(around);
		if not around.server.looks_up then
			t.settles(before, "closed " .. around.closing);
		end
	end
	around.closed = around.closing ~= "never";
	return held.stats;
end

-- An object with a finalizer.
function t.finalized(f)
	if _VERSION == "Lua 5.1" then
		local proxy = newproxy(true);
		getmetatable(proxy).__gc = f;
		return proxy;
	end
	return setmetatable({}, { __gc = f });
end

t.can_close = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil;

-- Ends the process; on Lua 5.1 there is one way only.
function t.exit(code, closes)
	if t.can_close then
		os.exit(code, closes);
	end
	os.exit(code);
end

return t;
