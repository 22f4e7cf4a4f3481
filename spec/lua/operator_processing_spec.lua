-- The wrapper around what handles stanzas: whoever calls it must not see that it is there.

local providers = require "support.providers";

-- What Prosody's util.async needs of Prosody's parts in C, which Debian builds for Lua 5.4 alone.
if _VERSION ~= "Lua 5.4" then
	local pack = require "util.table".pack;
	local unpack = table.unpack or unpack; -- luacheck: ignore 143 113
	package.preload["util.xpcall"] = function ()
		return {
			xpcall = function (f, handler, ...)
				local arguments = pack(...);
				return xpcall(function () return f(unpack(arguments, 1, arguments.n)); end, handler);
			end;
		};
	end
	package.preload["util.id"] = function ()
		return { short = function () return "id"; end };
	end
end
local async = require "util.async";

local name = "prosody_stanza_processing_duration_seconds";
local origin = { type = "c2s", host = "localhost" };

local function message()
	return { name = "message", attr = { type = "chat" }, tags = {} };
end

-- A pack in which `process` is Prosody's function, and what came of it.
local function wrapped(process, options, now)
	local faults = {};
	local stats = require "metre".new({ self_metrics = false; process_metrics = false });
	local prosody = { core_process_stanza = process; hosts = { localhost = {} } };
	local provider = { operator = options or { processing = true }; fault = function (what) table.insert(faults, what); end };
	local pack = require "metre.operator.pack".new(prosody, provider, stats);
	pack.now = now or pack.now;
	require "metre.operator.processing"(pack);
	return {
		process = prosody.core_process_stanza; pack = pack; faults = faults;
		count = function ()
			local family = stats.metric_registry.families[name];
			local count = 0;
			for _, metric in (family and family.iter_metrics or function () return next, {}; end)(family) do
				for suffix, _, value in metric:iter_samples() do
					count = count + (suffix == "_count" and value or 0);
				end
			end
			return count;
		end;
	};
end

describe("what handles stanzas", function ()
	it("gets its arguments, and its caller the results", function ()
		local seen;
		local it = wrapped(function (...)
			seen = { n = select("#", ...), ... };
			return nil, 2, nil;
		end);
		local stanza = message();
		local results = { n = select("#", it.process(origin, stanza, nil, 3, nil)), it.process(origin, stanza, nil, 3, nil) };
		assert.equal(3, results.n);
		assert.is_nil(results[1]);
		assert.equal(2, results[2]);
		assert.equal(5, seen.n);
		assert.equal(origin, seen[1]);
		assert.equal(stanza, seen[2]);
		assert.equal(3, seen[4]);
		assert.equal(2, it.count());
		assert.equal(0, select("#", wrapped(function () end).process(origin, stanza)));
	end);

	it("is measured for stanzas alone", function ()
		local it = wrapped(function () return "done"; end);
		for _, call in ipairs {
			{ origin, { name = "r", attr = {}, tags = {} } }, { origin, {} }, { { type = "admin" }, message() }, { {}, message() },
		} do
			assert.equal("done", it.process(call[1], call[2]));
		end
		assert.equal(0, it.count());
		for _, type in ipairs { "c2s", "c2s_unauthed", "s2sin", "s2sout", "component" } do
			it.process({ type = type }, message());
		end
		assert.equal(5, it.count());
		assert.same({}, it.faults);
	end);

	it("may raise any error", function ()
		local it, object = wrapped(function (_, stanza) error(stanza.what, 0); end), {};
		for _, what in ipairs { "text", object, 7 } do
			local stanza = message();
			stanza.what = what;
			local ok, err = pcall(it.process, origin, stanza);
			assert.is_false(ok);
			assert.equal(what, err);
		end
		assert.equal(0, it.count());
		assert.same({}, it.faults);
	end);

	it("may yield", function ()
		local it = wrapped(function (_, _, first)
			local second = coroutine.yield(first);
			return coroutine.yield(second), "end";
		end);
		local thread = coroutine.create(it.process);
		local function resume(...)
			local _, one, two = assert(coroutine.resume(thread, ...));
			return { one, two };
		end
		assert.same({ 1 }, resume(origin, message(), 1));
		-- Another stanza meanwhile.
		local other = coroutine.wrap(it.process);
		assert.equal(5, other(origin, message(), 5));
		assert.same({ 2 }, resume(2));
		assert.equal(0, it.count());
		assert.same({ 3, "end" }, resume(3));
		assert.equal(1, it.count());
		assert.equal(6, other(6));
		assert.equal(7, other(7));
		assert.equal(2, it.count());
	end);

	it("may wait in Prosody's runners", function ()
		local waits, done, errors = {}, {}, {};
		local it = wrapped(function (_, stanza)
			if stanza.fails then
				error("fails", 0);
			end
			local wait, go_on = async.waiter();
			waits[stanza] = go_on;
			wait();
			table.insert(done, stanza);
		end);
		local function runner()
			return async.runner(function (stanza) it.process(origin, stanza); end, {
				error = function (_, err) table.insert(errors, (tostring(err):match("fails"))); end;
			});
		end
		local one, two = runner(), runner();
		local first, second, third, failing = message(), message(), message(), message();
		failing.fails = true;
		one:run(first);
		one:run(second);
		two:run(third);
		assert.equal(0, it.count());
		waits[third]();
		waits[first]();
		assert.same({ third, first }, done);
		assert.equal(2, it.count());
		one:run(failing);
		waits[second]();
		assert.same({ "fails" }, errors);
		assert.equal(3, it.count());
		assert.same({}, it.faults);
	end);
end);

describe("a fault in metre's part of it", function ()
	local function tried(fault, options)
		local calls = 0;
		local time = 0;
		local it = wrapped(function (_, _, value)
			calls = calls + 1;
			return value;
		end, options, function () time = time + 1; return time; end);
		it.pack.metric = fault.metric or it.pack.metric;
		local lines = providers.logged_by(function ()
			for i = 1, 5 do
				assert.equal(i, it.process(origin, fault.stanza or message(), i));
			end
		end);
		assert.equal(5, calls);
		assert.same({ "operator.processing" }, it.faults);
		assert.equal(1, #lines);
		assert.truthy(lines[1]:find("error: Please report: metrics for operators miss what concerns processing", 1, true), lines[1]);
	end

	it("stays there, and is told of once", function ()
		tried { metric = function () error({}); end };
		tried { metric = function () return nil; end };
		tried({ stanza = { name = "iq", attr = {} } }, { processing = true; slow_log = 0 });
	end);

	it("takes no error away", function ()
		local it = wrapped(function (from) return from.log; end);
		local ok, err = pcall(it.process, nil, nil);
		assert.is_false(ok);
		assert.truthy(err:find("attempt to index", 1, true), err);
		assert.same({}, it.faults);
	end);
end);

describe("the log of slow stanzas", function ()
	-- Each stanza takes `seconds`.
	local function logged(stanzas, seconds, session)
		local time = 0;
		local it = wrapped(function () time = time + seconds; end, { processing = true; slow_log = 0.5 }, function () return time; end);
		return providers.logged_by(function ()
			for _, stanza in ipairs(stanzas) do
				it.process(session or origin, stanza);
			end
			assert.same({}, it.faults);
		end);
	end
	local function iq(xmlns, type)
		return { name = "iq", attr = { type = type or "get" }, tags = { { name = "query", attr = { xmlns = xmlns } } } };
	end

	it("says what kind, from which session, of which host, how long", function ()
		assert.same({ "info: Slow stanza: message of type chat from a session (c2s) of localhost took 0.625 s" },
			logged({ message() }, 0.625));
		assert.same({}, logged({ message() }, 0.25));
		assert.same({ "info: Slow stanza: iq of type get with urn:xmpp:ping from a session (s2s) of localhost took 1.000 s" },
			logged({ iq("urn:xmpp:ping") }, 1, { type = "s2sin", host = "far.example", to_host = "localhost" }));
	end);

	it("shows nothing else of what strangers have sent", function ()
		local lines = logged({ iq("evil\n\27[2J\0" .. ("x"):rep(500), "secret") }, 1, { type = "s2sin", to_host = "other.example" });
		assert.same({
			"info: Slow stanza: iq of type other with evil???2J?" .. ("x"):rep(70) .. " from a session (s2s) of no host took 1.000 s",
		}, lines);
	end);

	it("has ten lines a minute and says how many it has left out", function ()
		local many = {};
		for i = 1, 62 do
			many[i] = message();
		end
		local lines = logged(many, 1);
		assert.equal(10 + 1 + 2, #lines);
		assert.equal("info: Slow stanzas: 50 more were not logged", lines[11]);
	end);
end);
