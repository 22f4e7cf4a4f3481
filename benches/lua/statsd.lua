-- One process of benches/statsd.py: a provider that pushes to a statsd server on loopback.
--
-- Usage: lua statsd.lua PROVIDER PORT WORK [AMOUNT]

local provider, port, work, amount = arg[1], tonumber(arg[2]), arg[3], tonumber(arg[4]);
require "providers"; -- by which Prosody's is found
local memory = require "private";
local socket = require "socket";

local stats = assert(require(provider).new({ statsd_server = "127.0.0.1", statsd_port = port }));
local registry = stats.metric_registry;
local flush = stats.flush or function () end
-- A new list each time, since Prosody's own appends to it.
local function seven()
	return { 0.001, 0.01, 0.1, 1, 10, 100, 1000 };
end
local labels = { "host", "type" };

local function counter(name)
	return registry:counter("bench_" .. name, "", "", labels):with_labels("example.org", "c2s");
end

local function histogram(name)
	local family = registry:histogram("bench_" .. name, "seconds", "", labels, { buckets = seven() });
	return family:with_labels("example.org", "c2s");
end

local works = {};

-- Nanoseconds of this thread for each update. (The time of the whole process would have the pushing thread's in it.)
local function measure(metric, method, values)
	flush(stats);
	local start = socket.gettime();
	for i = 1, amount do
		method(metric, values(i));
	end
	print((socket.gettime() - start) / amount * 1e9);
	flush(stats);
end

function works.counter()
	local metric = counter("counter");
	measure(metric, metric.add, function () return 1; end);
end

function works.histogram()
	local metric = histogram("histogram");
	measure(metric, metric.sample, function (i) return i % 100 / 10; end);
end

-- As many updates as possible for that many seconds. Prints how many counts each of two hundred series should have got in
-- sum, and how many updates that were.
function works.full()
	local counters = registry:counter("full", "", "", { "n" });
	local histograms = registry:histogram("full_seconds", "", "", { "n" }, { buckets = seven() });
	local gauges = registry:gauge("full_gauge", "", "", { "n" });
	local metrics = {};
	for n = 1, 200 do
		local label = ("%d"):format(n);
		metrics[n] = { counters:with_labels(label), histograms:with_labels(label), gauges:with_labels(label) };
	end
	flush(stats);
	local rounds, finish = 0, socket.gettime() + amount;
	while socket.gettime() < finish do
		for _ = 1, 100 do
			rounds = rounds + 1;
			for _, metric in ipairs(metrics) do
				metric[1]:add(1);
				metric[2]:sample(rounds % 100 / 10);
				metric[3]:set(rounds);
			end
		end
	end
	stats:close();
	print(("%d %d"):format(rounds * #metrics, 3 * rounds * #metrics));
end

-- A million adds, evenly over that many seconds, and the private kilobytes once a second.
function works.million()
	local metric = counter("counter");
	flush(stats);
	local start = socket.gettime();
	local steps = amount * 100;
	for step = 1, steps do
		for _ = 1, 1e6 / steps do
			metric:add(1);
		end
		socket.sleep(math.max(0, start + step / 100 - socket.gettime()));
		if step % 100 == 0 then
			print(("%d"):format(memory() / 1024));
			io.flush();
		end
	end
	stats:close();
end

works[work]();
