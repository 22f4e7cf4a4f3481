-- The statsd pusher: what arrives on a socket, with Prosody's own pusher as the oracle.

local cases = require "support.hostile_cases";
local lfs = require "lfs";
local new_random = require "support.random";
local new_server = require "support.statsd";
local socket = require "socket";

local sequences, operations = 150, 120;

local function pusher(server, options)
	local config = { server = "127.0.0.1:" .. server.port };
	for key, value in pairs(options or {}) do
		config[key] = value;
	end
	return assert(require "metre".new({ statsd = config }));
end

-- Runs f with a server and a provider that pushes there.
local function with_pusher(options, f)
	local server = new_server();
	local stats = pusher(server, options);
	local ok, err = pcall(f, stats, server);
	stats:close();
	server:close();
	assert(ok, err);
end

-- Counted in this process: while it starts another one, it has one end of a pipe more for as long as the scheduler likes.
local function entries(directory)
	local count = 0;
	for name in lfs.dir(directory) do
		count = count + (name:find("^%.") and 0 or 1);
	end
	return count;
end

local function threads()
	return entries("/proc/self/task");
end

-- A thread that was joined is on the kernel's list for a moment more.
local function threads_left(expected)
	local limit = socket.gettime() + 60;
	while threads() ~= expected and socket.gettime() < limit do
		socket.sleep(0.001);
	end
	return threads();
end

local function open_files()
	collectgarbage();
	collectgarbage();
	return entries("/proc/self/fd");
end

-- A clock in seconds that stands while others run although this thread could.
local function ran()
	local file = assert(io.open("/proc/thread-self/schedstat"));
	local waited = file:read("*l"):match("^%d+ (%d+)");
	file:close();
	return socket.gettime() - tonumber(waited) / 1e9;
end

describe("metre.statsd", function ()
	it("is metre with a pusher to localhost", function ()
		local lib = require "metre.statsd";
		assert.equal("metre.statsd", lib._NAME);
		local stats = assert(lib.new());
		assert.truthy(stats.metric_registry:render():find("metre_statsd_up", 1, true));
		assert.falsy(assert(require "metre".new()).metric_registry:render():find("metre_statsd", 1, true));
		local none, message = lib.new({ statsd_sever = "x" });
		assert.is_nil(none);
		assert.truthy(message:find("did you mean 'statsd_server'?", 1, true), message);
	end);

	it("takes Prosody's own keys", function ()
		local server = new_server();
		local stats = assert(require "metre.statsd".new {
			statsd_server = "127.0.0.1"; statsd_port = server.port; prefix = "xmpp";
		});
		stats.metric_registry:counter("c"):with_labels():add(2);
		assert.is_true(stats:flush());
		stats:close();
		assert.same({ "xmpp.c:2|c" }, server:lines());
		server:close();
	end);

	it("starts nothing before it is asked to", function ()
		local server = new_server();
		local threads_before, files_before = threads_left(1), open_files();
		local stats = pusher(server);
		stats.metric_registry:counter("c"):with_labels():add(1);
		stats:uncork();
		assert.equal(threads_before, threads());
		assert.equal(files_before, open_files());
		assert.is_true(stats:flush());
		assert.equal(threads_before + 1, threads());
		stats:close();
		stats:close();
		assert.equal(threads_before, threads_left(threads_before));
		assert.equal(files_before, open_files());
		server:close();
	end);

	it("ends with the objects that belong to it", function ()
		local server = new_server();
		local before = threads_left(1);
		-- In a coroutine, so that nothing is left on this stack.
		coroutine.wrap(function ()
			for _ = 1, 20 do
				local stats = pusher(server, { flush_interval = 3600 });
				stats:flush();
				stats.metric_registry:counter("c"):with_labels():add(1);
			end
		end)();
		-- What LuaJIT has compiled holds on to objects that it has seen.
		if rawget(_G, "jit") then
			rawget(_G, "jit").flush();
		end
		-- Finalizers can take several rounds.
		local rounds = 0;
		repeat
			collectgarbage();
			rounds = rounds + 1;
		until threads() == before or rounds == 50;
		assert.equal(before, threads_left(before));
		assert.equal(20, server:count({})["prosody.c|c"]);
		server:close();
	end);

	it("starts nothing in prosodyctl", function ()
		with_pusher({}, function (stats)
			local before = threads_left(1);
			rawset(_G, "prosody", { process_type = "prosodyctl" });
			local ok, flushed, why = pcall(stats.flush, stats);
			rawset(_G, "prosody", nil);
			assert.is_true(ok);
			assert.is_false(flushed);
			assert.equal("the statsd pusher does not run in this process", why);
			assert.equal(before, threads());
		end);
	end);

	it("serves scrapes meanwhile", function ()
		with_pusher({}, function (stats, server)
			local counter = stats.metric_registry:counter("c"):with_labels();
			counter:add(3);
			stats:flush();
			counter:add(4);
			stats:flush();
			assert.equal(7, server:count({})["prosody.c|c"]);
			assert.truthy(stats.metric_registry:render():find("c_total 7\n", 1, true));
			assert.truthy(stats.metric_registry:render():find("metre_statsd_datagrams_total 2\n", 1, true));
		end);
	end);
end);

describe("what the operator hears", function ()
	it("is one line when the server goes and one when it is back", function ()
		local logged_by = require "support.providers".logged_by;
		local server = new_server();
		local stats = pusher(server);
		local counter = stats.metric_registry:counter("c"):with_labels();
		server:close();
		local lines = logged_by(function ()
			for _ = 1, 5 do
				counter:add(1);
				assert.same({ false, "Connection refused (os error 111)" }, { stats:flush() });
			end
		end);
		local name = "udp://127.0.0.1:" .. server.port;
		assert.same({
			"info: Pushing to the statsd server " .. name .. " every 1 s";
			"warn: Cannot reach the statsd server " .. name .. ": Connection refused (os error 111); counts are kept until it is back";
		}, lines);
		server = new_server(server.port);
		lines = logged_by(function ()
			for _ = 1, 5 do
				counter:add(1);
				assert.is_true(stats:flush());
			end
		end);
		assert.equal(1, #lines);
		assert.truthy(lines[1]:match("^info: The statsd server " .. name:gsub("%p", "%%%0") .. " is back after [%d.]+ s$"), lines[1]);
		assert.equal(10, server:count({})["prosody.c|c"]);
		stats:close();
		server:close();
	end);
end);

describe("metre's own metrics", function ()
	it("are pushed too if that is asked for", function ()
		with_pusher({ self_metrics = true }, function (stats, server)
			-- Each push tells of those before it.
			for _ = 1, 3 do
				stats:flush();
			end
			local totals = server:count({});
			assert.equal(1, totals["prosody.metre_statsd_up|g"]);
			assert.is_true(totals["prosody.metre_statsd_datagrams|c"] >= 1);
			assert.is_true(totals["prosody.process_resident_memory_bytes|g"] > 100000);
		end);
	end);

	it("name other servers only if that is asked for", function ()
		for _, remotes in ipairs { true, false } do
			with_pusher({ remotes = remotes }, function (stats, server)
				local register = require "metre.registry".register;
				local of_pack = { leaves = true, uncreated = true, names_others = true };
				local family = register(stats.metric_registry, "gauge", "failing", "", "", { "remote" }, nil, of_pack);
				family:with_labels("example_com"):set(3);
				stats.metric_registry:gauge("g"):with_labels():set(1);
				stats:flush();
				local totals = server:count({});
				assert.equal(1, totals["prosody.g|g"]);
				assert.equal(remotes and 3 or nil, totals["prosody.failing.example_com|g"]);
				assert.truthy(stats.metric_registry:render():find('failing{remote="example_com"} 3', 1, true));
			end);
		end
	end);

	it("say what was left out, and why", function ()
		with_pusher({ max_datagram = 64 }, function (stats)
			local registry = stats.metric_registry;
			registry:counter("c", "", "", { "x" }):with_labels(("x"):rep(60)):add(1);
			registry:gauge("g"):with_labels():set(0/0);
			stats:flush();
			local page = registry:render();
			assert.truthy(page:find('metre_statsd_dropped_lines_total{cause="too_long"} 1\n', 1, true));
			assert.truthy(page:find('metre_statsd_dropped_lines_total{cause="not_finite"} 1\n', 1, true));
			require "support.pages".assert_valid(page);
		end);
	end);

	it("have buckets in every mode", function ()
		with_pusher({ self_metrics = true, histograms = "timing" }, function (stats, server)
			for _ = 1, 3 do
				stats:flush();
			end
			assert.is_true(server:count({})["prosody.metre_statsd_flush_duration_seconds.count|c"] > 0);
		end);
	end);

	it("give way to a module's", function ()
		with_pusher({}, function (stats)
			stats.metric_registry:gauge("metre_statsd_up"):with_labels():set(5);
			stats:flush();
			assert.truthy(stats.metric_registry:render():find("\nmetre_statsd_up 5\n", 1, true));
		end);
	end);
end);

describe("flush and close", function ()
	it("are bounded, whatever the server does", function ()
		for _, server in ipairs { "udp://127.0.0.1:1", "tcp://127.0.0.1:1", "unixgram:///nonexistent/x", "statsd.invalid" } do
			local stats = assert(require "metre".new({ statsd = server }));
			stats.metric_registry:counter("c"):with_labels():add(1);
			local start = ran();
			assert.is_false(stats:flush());
			assert.is_true(ran() - start < 1.5, "flush: " .. server);
			start = ran();
			stats:close();
			assert.is_true(ran() - start < 2.5, "close: " .. server);
		end
	end);
end);

describe("on the wire", function ()
	-- What both pushers send unambiguously, and where Prosody's own does nothing that it shouldn't.
	local kinds = { "gauge", "counter", "histogram", "summary" };
	local names = { "prosody_mod_c2s/connections", "prosody_mod_x/y", "a.b", "size" };
	local key_lists = { {}, { "host" }, { "host", "type" } };
	local values = { "localhost", "example.org", "c2s", "xn--mnchen-3ya.example", "SCRAM-SHA-1", "text/plain", "10.0.0.1" };
	local numbers = { 0, 1, 2, 7, 100, 0.5, 0.25, 123456789, 5, 10 };

	-- The same operation for either side.
	local function operation(random, number)
		local kind, name, keys = random:pick(kinds), random:pick(names), random:pick(key_lists);
		local labels = { random:pick(values), random:pick(values) };
		local value, sign, by_add = random:pick(numbers), random:below(2) * 2 - 1, random:below(2) == 0;
		local reset, corked = random:below(30) == 0, random:below(10);
		-- Of one type and one set of labels for ever, since Prosody's own gives no thought to clashes.
		name = ("%s_%s_%d"):format(name, kind, #keys);
		return function (stats)
			if corked == 0 then
				stats:cork();
			elseif corked == 1 then
				stats:uncork();
			end
			local unit = kind == "histogram" and "seconds" or "";
			local family = stats.metric_registry[kind](stats.metric_registry, name, unit, "", keys, { buckets = { 0.1, 1, 5, 1e6 } });
			local metric = family:with_labels((table.unpack or unpack)(labels, 1, #keys)); -- luacheck: ignore 113
			if reset then
				metric:reset();
			elseif kind == "gauge" then
				metric[by_add and "add" or "set"](metric, sign * value);
			elseif kind == "counter" then
				metric:add(value);
			else
				metric:sample(value);
			end
		end, number;
	end

	it("is what Prosody's own pusher sends, name by name", function ()
		local compared = 0;
		for seed = 1, sequences do
			local random = new_random(seed);
			local server, own_server = new_server(), new_server();
			local own = require "util.statsd".new({ statsd_server = "127.0.0.1", statsd_port = own_server.port });
			local stats = pusher(server);
			local totals, own_totals = {}, {};
			own:cork(); -- its uncork() would fail without
			own:uncork();
			for number = 1, operations do
				local run = operation(random, number);
				run(stats);
				run(own);
				-- So that the socket's buffer has room for all that Prosody's own sends.
				own_server:count(own_totals);
				if random:below(20) == 0 then
					assert.is_true(stats:flush());
					server:count(totals);
				end
			end
			stats:uncork();
			own:uncork();
			stats:close();
			server:count(totals);
			own_server:count(own_totals);
			for key, total in pairs(own_totals) do
				-- A step of zero is nothing to send.
				if total ~= 0 or key:find("|g", 1, true) then
					assert.is_true(math.abs(total - (totals[key] or 0/0)) <= 1e-9 * math.abs(total),
						("seed %d: %s is %s, not %s"):format(seed, key, tostring(totals[key]), total));
					compared = compared + 1;
				end
			end
			for key in pairs(totals) do
				assert.truthy(own_totals[key], key);
			end
			server:close();
			own_server:close();
		end
		assert.is_true(compared > 10 * sequences);
	end);

	-- What is wrong with a line, if anything is.
	local function problem(line)
		local name, value, kind = line:match("^([%w_.+-]+):([%d.e+-]+)|(%a)$");
		if not name then
			return "is malformed";
		elseif ("." .. name .. "."):find("..", 1, true) then
			return "has an empty part";
		elseif not tonumber(value) or tonumber(value) ~= tonumber(value) or value:find("n", 1, true) then
			return "has no number";
		elseif kind == "c" and tonumber(value) <= 0 or kind ~= "c" and kind ~= "g" then
			return "is no step";
		end
	end

	it("is well-formed whatever modules and clients do", function ()
		local lines = 0;
		for _, case in ipairs(cases) do
			with_pusher({}, function (stats, server)
				pcall(case.run, stats.metric_registry);
				for _ = 1, 2 do
					assert.is_true(stats:flush());
					for _, datagram in ipairs(server:datagrams()) do
						assert.is_true(#datagram <= 1432);
						for line in (datagram .. "\n"):gmatch("([^\n]*)\n") do
							assert(not problem(line), case.name .. ": " .. line .. " " .. (problem(line) or ""));
							lines = lines + 1;
						end
					end
				end
			end);
		end
		assert.is_true(lines > 100);
	end);

	it("keeps series apart that Prosody's own pusher mixes up", function ()
		with_pusher({}, function (stats, server)
			local family = stats.metric_registry:counter("c", "", "", { "a", "b" });
			local hosts = { "a.b", "a_b", "a/b", "::1", "_1", "2001:db8::1", "münchen", "mönchen", "", "x:1|c\nforged", "x" };
			for _, a in ipairs(hosts) do
				for _, b in ipairs { "b/c", "c", "" } do
					family:with_labels(a, b):add(1);
				end
			end
			stats:flush();
			local totals, different = server:count({}), 0;
			for name, total in pairs(totals) do
				assert.equal(1, total, name);
				different = different + 1;
			end
			assert.equal(#hosts * 3, different);
			assert.equal(1, totals["prosody.c.a_b.c|c"]);
		end);
	end);

	it("has the same names after a restart, in whatever order", function ()
		local hosts = { "::1", "münchen", "a b", "example.org" };
		local seen = {};
		for round = 0, 1 do
			with_pusher({}, function (stats, server)
				local family = stats.metric_registry:gauge("g", "", "", { "host" });
				for i = 1, #hosts do
					local number = round == 0 and i or #hosts + 1 - i;
					family:with_labels(hosts[number]):set(number);
				end
				stats:flush();
				seen[round] = server:count({});
			end);
		end
		assert.same(seen[0], seen[1]);
	end);

	it("has digits that read back exactly", function ()
		with_pusher({}, function (stats, server)
			local family = stats.metric_registry:gauge("g", "", "", { "n" });
			local exact = { 0.1, 1/3, 1e300, 5e-324, 2^53 + 2, 1e15, 123456789.123, 0.1 + 0.2 };
			for n, value in ipairs(exact) do
				family:with_labels(("%d"):format(n)):set(value);
			end
			stats:flush();
			local totals = server:count({});
			for n, value in ipairs(exact) do
				assert.equal(value, totals["prosody.g." .. n .. "|g"]);
			end
		end);
	end);

	it("counts a reload and a reset as a restart", function ()
		with_pusher({}, function (stats, server)
			local counter = stats.metric_registry:counter("c"):with_labels();
			counter:add(10);
			stats:flush();
			counter:add(1);
			stats.metric_registry:counter("c"):with_labels():set(0); -- as module:measure() does
			counter:add(2);
			counter:reset();
			counter:set(4);
			stats:flush();
			assert.equal(10 + 1 + 2 + 4, server:count({})["prosody.c|c"]);
		end);
	end);

	it("has little in it", function ()
		with_pusher({ flush_interval = 3600 }, function (stats, server)
			local counter = stats.metric_registry:counter("c", "", "", { "host" }):with_labels("example.org");
			local histogram = stats.metric_registry:histogram("h", "", "", {}, { buckets = { 1, 2, 3, 4, 5, 6, 7 } }):with_labels();
			for i = 1, 10000 do
				counter:add(1);
				histogram:sample(i % 8);
			end
			stats:flush();
			local datagrams = server:datagrams();
			assert.equal(1, #datagrams);
			assert.truthy(datagrams[1]:find("prosody.c.example_org:10000|c", 1, true));
			assert.truthy(datagrams[1]:find("prosody.h.bucket.+Inf:10000|c", 1, true));
		end);
	end);
end);

describe("dialects", function ()
	local function lines_of(options, use)
		local lines;
		with_pusher(options, function (stats, server)
			use(stats.metric_registry);
			assert.is_true(stats:flush());
			lines = server:lines();
		end);
		return lines;
	end

	local function use(registry)
		registry:gauge("g", "", "", { "host", "type" }):with_labels("example.org", "c2s"):set(1);
		registry:histogram("h", "seconds", "", {}, { buckets = { 1 } }):with_labels():sample(0.0213);
	end

	it("put labels into tags", function ()
		assert.same({
			"prosody.g:1|g|#vhost:example.org,type:c2s,env:prod",
			"prosody.h_seconds.bucket:1|c|#env:prod,le:1",
			"prosody.h_seconds.bucket:1|c|#env:prod,le:+Inf",
			"prosody.h_seconds.sum:0.0213|g|#env:prod",
			"prosody.h_seconds.count:1|c|#env:prod",
		}, lines_of({ tags = "dogstatsd", constant_tags = { env = "prod" } }, use));
		assert.same({
			"prosody.g,vhost=example.org,type=c2s:1|g",
			"prosody.h_seconds:21.3|ms",
		}, lines_of({ tags = "influx", histograms = "timing" }, use));
		assert.same({
			"prosody.g:1|g|#vhost:example.org,type:c2s|c:ci-0123",
			"prosody.h_seconds:0.0213|d|c:ci-0123",
		}, lines_of({ tags = "dogstatsd", histograms = "distribution", container = "ci-0123" }, use));
	end);

	it("sample down what is too much, and say so", function ()
		local lines = lines_of({ histograms = "timing", max_samples_per_second = 50, flush_interval = 2 }, function (registry)
			local few = registry:histogram("few", "", "", {}, { buckets = { 1 } }):with_labels();
			for _ = 1, 100 do
				few:sample(1);
			end
			local histogram = registry:histogram("h", "", "", {}, { buckets = { 1 } }):with_labels();
			for i = 1, 100000 do
				histogram:sample(i);
			end
		end);
		local weight = 0;
		for _, line in ipairs(lines) do
			local rate = line:match("^prosody%.h:%d+|ms|@([%d.]+)$");
			weight = weight + (rate and 1 / tonumber(rate) or 0);
			assert.truthy(rate or line == "prosody.few:1|ms", line);
		end
		assert.is_true(math.abs(weight - 100000) < 1, tostring(weight));
		assert.equal(100 + 100, #lines);
	end);
end);
