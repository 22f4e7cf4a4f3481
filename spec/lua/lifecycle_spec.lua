-- Starting, stopping, and every way a Lua state can end.

-- A Prosody as far as metre sees it at start.
local function fake_prosody(process_type)
	local handlers = {};
	return {
		process_type = process_type;
		paths = { config = "/nonexistent/etc" };
		handlers = handlers;
		events = {
			add_handler = function (event, handler, priority)
				table.insert(handlers, { event = event, handler = handler, priority = priority });
			end;
		};
	};
end

local function with_prosody(prosody, f)
	local old = rawget(_G, "prosody");
	rawset(_G, "prosody", prosody);
	local ok, err = pcall(f);
	rawset(_G, "prosody", old);
	assert(ok, err);
end

describe("in Prosody", function ()
	it("starts after daemonizing and stops after the last collection", function ()
		local prosody = fake_prosody("prosody");
		with_prosody(prosody, function ()
			local stats = require "metre".new();
			local seen = {};
			for _, handler in ipairs(prosody.handlers) do
				seen[handler.event] = handler;
			end
			assert.equal(-0.5, seen["server-started"].priority);
			assert.equal(-2, seen["server-stopped"].priority);
			assert.is_false(stats._native.is_running());
			-- A returned value would keep other handlers from running.
			assert.equal(0, select("#", seen["server-started"].handler({})));
			assert.is_true(stats._native.is_running());
			assert.equal(0, select("#", seen["server-stopped"].handler({})));
			assert.is_false(stats._native.is_running());
		end);
	end);

	it("starts nothing in prosodyctl", function ()
		local prosody = fake_prosody("prosodyctl");
		with_prosody(prosody, function ()
			assert.truthy(require "metre".new());
			assert.same({}, prosody.handlers);
		end);
	end);

	it("looks for a relative config_file beside Prosody's own", function ()
		with_prosody(fake_prosody("prosody"), function ()
			local config = { config_file = "metre.toml" };
			local _, message = require "metre".new(config);
			assert.truthy(message:find("/nonexistent/etc/metre.toml: cannot be read", 1, true));
			assert.equal("metre.toml", config.config_file);
		end);
	end);
end);

-- Runs a program in a Lua of its own, under valgrind unless METRE_VALGRIND says something else (or nothing) or `command` is to
-- run it, which has to end with this status and print this.
local function run(program, status, output, command)
	local name = os.tmpname();
	local file = assert(io.open(name, "w"));
	file:write("package.path = ", ("%q"):format(package.path), "\npackage.cpath = ", ("%q"):format(package.cpath), "\n");
	file:write(program);
	file:close();
	command = command or (os.getenv("METRE_VALGRIND") or "valgrind -q --error-exitcode=99") .. " " .. os.getenv("METRE_LUA");
	local shell = assert(io.popen(command .. " " .. name .. " 2>&1; echo status $?"));
	local printed = shell:read("*a");
	shell:close();
	os.remove(name);
	local expected = "status " .. (status or 0) .. "\n";
	-- A program that ends by an error prints where that was, each Lua in its own words.
	assert.equal((output or "") .. expected, status == 1 and printed:match("[^\n]*\n$") or printed);
end

-- The beginning of a program that makes objects with finalizers.
local finalized = [[
	local function finalized(f)
		if _VERSION == "Lua 5.1" then
			local proxy = newproxy(true);
			getmetatable(proxy).__gc = f;
			return proxy;
		end
		return setmetatable({}, { __gc = f });
	end
]];

describe("a Lua state", function ()
	it("ends well whichever way it ends", function ()
		local use = [[
			local registry = require "metre".new().metric_registry;
			local family = registry:counter("c", "", "", { "a" });
			local handles = {};
			for i = 1, 1000 do handles[i] = family:with_labels("v" .. i); handles[i]:add(1); end
		]];
		run(use);
		run(use .. "os.exit(3)", 3);
		run(use .. "os.exit(0, true)");
		run(use .. "error('x')", 1);
		run(use .. "handles = nil; collectgarbage(); registry:render()");
	end);

	it("ends well while it pushes to statsd", function ()
		local use = [[
			local stats = require "metre".new({ statsd = { server = "127.0.0.1:1", flush_interval = 0.1 } });
			local family = stats.metric_registry:counter("c", "", "", { "a" });
			for i = 1, 100 do family:with_labels("v" .. i):add(1); end
			stats:flush();
			for i = 1, 100 do family:with_labels("v" .. i):add(1); end
		]];
		local away = "metre: warn: Cannot reach the statsd server udp://127.0.0.1:1: Connection refused (os error 111); "
			.. "counts are kept until it is back\n";
		local lost = "metre: warn: Stopped before everything was sent to the statsd server udp://127.0.0.1:1; the rest is lost\n";
		-- Without Prosody's logger warnings go to stderr.
		local plain = 'package.preload["util.logger"] = function () error("not here"); end ';
		run(plain .. use, 0, away);
		run(plain .. use .. "os.exit(3)", 3, away);
		run(plain .. use .. "os.exit(0, true)", 0, away);
		run(plain .. use .. "stats:close(); stats:close();", 0, away .. lost);
		run(plain .. use .. "stats = nil; family = nil; collectgarbage(); collectgarbage();", 0, away);
		run(plain .. [[
			for round = 1, 30 do
				local stats = require "metre".new({ statsd = "127.0.0.1:1" });
				stats:flush();
				stats:close();
			end
		]], 0);
	end);

	it("ends well while it serves metrics", function ()
		local path = os.tmpname();
		os.remove(path);
		local use = ([[
			local path = %q;
			local stats = require "metre".new({ exporter = "unix:" .. path });
			local family = stats.metric_registry:counter("c", "", "", { "a" });
			for i = 1, 100 do family:with_labels("v" .. i):add(1); end
			assert(stats:flush());
			local function scrape()
				local curl = io.popen("timeout 60 sh -c 'until curl -sS --unix-socket " .. path
					.. " http://localhost/metrics 2>/dev/null; do sleep 0.02; done'");
				local page = curl:read("*a");
				curl:close();
				return page;
			end
			assert(scrape():find("c_total{a=\"v100\"} 1", 1, true), "no page");
		]]):format(path);
		local plain = 'package.preload["util.logger"] = function () error("not here"); end ';
		run(plain .. use);
		run(plain .. use .. "os.exit(3)", 3);
		run(plain .. use .. "os.exit(0, true)");
		run(plain .. use .. "error('x')", 1);
		run(plain .. use .. "stats:close(); stats:close(); assert(not io.open(path))");
		run(plain .. use .. "stats = nil; family = nil; collectgarbage(); collectgarbage();");
		run(plain .. use .. [[
			for _ = 1, 5 do
				stats:close();
				assert(not io.open(path));
				assert(stats:flush());
				assert(scrape():find("c_total", 1, true));
			end
		]]);
		os.remove(path);
	end);

	it("may use metrics while it closes", function ()
		-- Finalizers run in an order that nobody should count on: some after the family's own.
		run(finalized .. [[
			before = finalized(function () use(); end);
			local registry = require "metre".new().metric_registry;
			middle = finalized(function () use(); end);
			local histogram = registry:histogram("h", "", "", { "a" }, { buckets = { 1, 2 } });
			local counter = registry:counter("c");
			local handle, view, data = histogram:with_labels("x"), histogram.data:get("x"), counter.data;
			handle:sample(1);
			local view2 = histogram.data:get("x");
			function use()
				for _, f in ipairs {
					function () handle:sample(1); end, function () handle:reset(); end, function () data:add(1); end,
					function () return view2._sum; end, function () return view2[1].count; end, function () return #view2; end,
					function () for _ in view2:iter_samples() do end end, function () histogram:with_labels("y"); end,
					function () for _ in histogram:iter_metrics() do end end, function () histogram:clear(); end,
					function () registry:render(); end, function () registry:counter("new"):with_labels():add(1); end,
					function () histogram.data:get("x"); end, function () histogram:with_partial_label("x"):with_labels(); end,
				} do
					pcall(f);
				end
			end
			after = finalized(function () use(); end);
		]]);
	end);

	it("may close it in finalizers of its own calls", function ()
		run(finalized .. [[
			package.preload["util.logger"] = function ()
				return { init = function () return function () end end };
			end
			local stats = require "metre".new();
			for _ = 1, 20 do
				local done;
				finalized(function ()
					done = true;
					stats:flush();
					stats:cork();
					stats:close();
					-- On Lua 5.1 this is an error in the middle of a page.
					pcall(function () stats.metric_registry:counter("c" .. math.random(20)):with_labels():add(1); end);
				end);
				repeat
					stats.metric_registry:render();
				until done;
			end
		]]);
	end);

	it("may load metre in a coroutine that dies", function ()
		run([[
			local stats = coroutine.wrap(function () return require "metre".new(); end)();
			for _ = 1, 20 do
				collectgarbage();
				coroutine.wrap(function () for _ = 1, 1000 do local _ = {}; end end)();
			end
			local family = stats.metric_registry:counter("c", "", "", { "a" });
			for _ = 1, 100 do
				assert(not pcall(family.with_labels, family));
				assert(not pcall(stats.metric_registry.histogram, stats.metric_registry, "h"));
				assert(not require "metre".new({ bogus = 1 }));
			end
			family:with_labels("x"):add(1);
			io.write(#stats.metric_registry:render() > 0 and "fine\n");
		]], 0, "fine\n");
	end);

	it("may hold metrics that only dead objects refer to", function ()
		run(finalized .. [[
			local registry = require "metre".new().metric_registry;
			local many = {};
			for i = 1, 300 do many[i] = i; end
			for round = 1, 20 do
				local family = registry:counter("c", "", "", { "a" .. round });
				local handle = family:with_labels("x");
				local histogram = registry:histogram("h", "", "Help", { "key" .. round }, { buckets = many });
				histogram:with_labels("x"):sample(1);
				-- On Lua 5.1 garbage is collected in finalizers too: the family may go in the middle of these, and then they
				-- are errors.
				finalized(function ()
					pcall(handle.add, handle, 1);
					pcall(function () family:with_labels("y"):add(1); end);
					pcall(function ()
						for _, metric in histogram:iter_metrics() do
							for _ in metric:iter_samples() do end -- luacheck: ignore 542
							for _, bucket in ipairs(metric) do local _ = bucket.threshold_s .. bucket.count; end
						end
						histogram:with_labels({}):sample("x");
					end);
				end);
				if round % 5 == 0 then
					collectgarbage();
				end
			end
		]]);
	end);
end);

describe("memory that is no longer there", function ()
	it("can't be reached", function ()
		local program = assert(io.open(os.getenv("METRE_ROOT") .. "/spec/support/reach.lua"));
		local text = program:read("*a");
		program:close();
		run(text, 0, "fine\n");
		-- Without valgrind, too, which gives memory out again as late as it can.
		run(text, 0, "fine\n", os.getenv("METRE_LUA"));
	end);
end);

describe("a finalizer that raises an error", function ()
	it("harms nothing, and the collector does its work", function ()
		local program = assert(io.open(os.getenv("METRE_ROOT") .. "/spec/support/finalizers.lua"));
		local text = program:read("*a");
		program:close();
		run(text, 0, "fine\n", os.getenv("METRE_LUA"));
	end);
end);

describe("a wrong self", function ()
	it("is an error that is a string", function ()
		local registry = require "metre".new().metric_registry;
		local counter = registry:counter("c"):with_labels();
		local histogram = registry:histogram("h", "", "", {}, { buckets = { 1 } });
		local selves = { 1, "x", {}, io.stdout, print, histogram:with_labels(), histogram.data, histogram, registry };
		for i = 1, 10 do
			local ok, message = pcall(counter.add, selves[i], 1);
			assert.is_false(ok);
			assert.equal("string", type(message));
			assert.truthy(message:find("a counter expected", 1, true), message);
		end
		assert.equal(0, registry.families.c.data.value);
	end);
end);

-- LuaJIT raises by unwinding, and Rust would abort the process if it caught that.
describe("an error that Lua raises below metre", function ()
	it("gets to the caller", function ()
		local view = require "metre".new().metric_registry:histogram("h", "", "", {}, { buckets = { 1 } }).data;
		local next_field, fields = debug.getmetatable(view).__pairs(view);
		local ok, message = pcall(next_field, fields, "no such key");
		assert.is_false(ok);
		assert.equal("string", type(message));
	end);
end);

describe("a failure in the life cycle", function ()
	it("is logged, and neither raised nor returned", function ()
		local prosody = fake_prosody("prosody");
		local retry;
		package.loaded["util.timer"] = { add_task = function (_, f) retry = f; end };
		with_prosody(prosody, function ()
			local lines = require "support.providers".logged_by(function ()
				require "metre.lifecycle".attach {
					start = function () return nil, "no start"; end;
					stop = function () error("no stop", 0); end;
					collected = function () return nil, "no end"; end;
				};
				for _, handler in ipairs(prosody.handlers) do
					assert.equal(0, select("#", handler.handler({})));
				end
			end);
			assert.same({
				"warn: Neither exporter nor statsd pusher run yet: no start; tried again until they do",
				"error: Please report: no end", "error: Please report: no stop",
			}, lines);
		end);
		package.loaded["util.timer"] = nil;
		assert.is_nil(retry(), "not after it has stopped");
	end);

	it("is logged once, however often it is tried", function ()
		local prosody, retry, answers = fake_prosody("prosody"), nil, nil;
		package.loaded["util.timer"] = { add_task = function (_, f) retry = f; end };
		package.loaded["net.server"] = { watchfd = function (_, f) answers = f; return {}; end };
		package.loaded["core.statsmanager"] = {};
		local tries = 0;
		with_prosody(prosody, function ()
			local lines = require "support.providers".logged_by(function ()
				require "metre.lifecycle".attach {
					start = function ()
						tries = tries + 1;
						if tries < 4 then
							return nil, tries < 3 and "no threads" or "no descriptors";
						end
						return true, 1;
					end;
					watched = function () end;
				};
				prosody.handlers[1].handler({});
				assert.equal(10, retry());
				assert.equal(10, retry());
				assert.is_nil(retry());
			end);
			assert.same({
				"warn: Neither exporter nor statsd pusher run yet: no threads; tried again until they do",
				"warn: Neither exporter nor statsd pusher run yet: no descriptors; tried again until they do",
			}, lines);
		end);
		for _, name in ipairs { "util.timer", "net.server", "core.statsmanager" } do
			package.loaded[name] = nil;
		end
		assert.equal("function", type(answers));
	end);
end);

-- Prosody may have no descriptor left for one.
describe("once it is made", function ()
	it("opens no file of its own", function ()
		local prosody, answers = fake_prosody("prosody"), nil;
		package.loaded["net.server"] = { watchfd = function (_, f) answers = f; return { close = function () end }; end };
		package.loaded["core.statsmanager"] = {};
		for name in pairs(package.loaded) do
			if name:match("^metre") and name ~= "metre" .. "_lua" .. _VERSION:gsub("%D", "") then
				package.loaded[name] = nil;
			end
		end
		local path, cpath = package.path, package.cpath;
		with_prosody(prosody, function ()
			local stats = assert(require "metre".new {
				statsd = "127.0.0.1:9"; rule = { { match = "nothing"; drop = true } };
			});
			package.path, package.cpath = "", "";
			local lines = require "support.providers".logged_by(function ()
				prosody.handlers[1].handler({});
				stats.metric_registry:counter("nothing"):with_labels():add(1);
				prosody.handlers[#prosody.handlers].handler({});
			end);
			assert.same({ "info: Pushing to the statsd server udp://127.0.0.1:9 every 1 s" }, lines);
		end);
		package.path, package.cpath = path, cpath;
		package.loaded["net.server"], package.loaded["core.statsmanager"] = nil, nil;
		assert.equal("function", type(answers));
	end);
end);
