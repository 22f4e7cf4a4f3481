-- What modules notice of stores that are measured: nothing.

-- Prosody's C modules exist for 5.4 only; these parts of them are enough for util.async.
package.loaded["util.time"] = { now = os.time, monotonic = os.clock };
package.loaded["util.id"] = { short = function () return "id"; end };
local unpack, pack = table.unpack or unpack, require "util.table".pack; -- luacheck: ignore 143 113
package.loaded["util.xpcall"] = {
	xpcall = function (f, handler, ...)
		local arguments = pack(...);
		return xpcall(function () return f(unpack(arguments, 1, arguments.n)); end, handler);
	end;
};

local async, events = require "util.async", require "util.events";

local now = require "metre.native".now;

-- What util.timer is to call.
local tasks = {};
package.loaded["util.timer"] = {
	add_task = function (_, f)
		table.insert(tasks, f);
	end;
};

-- Has so many seconds pass.
local function pass(seconds)
	local began = now();
	repeat until now() - began >= seconds;
end

-- Calls what is due by now, but not what comes of it.
local function tick()
	local due = tasks;
	tasks = {};
	for _, f in ipairs(due) do
		f();
	end
end

-- A Prosody with metre and these hosts, and what metre has measured in it.
local function server(...)
	local prosody = { process_type = "prosody", paths = {}, hosts = {}, events = events.new(), version = "test" };
	local old = rawget(_G, "prosody");
	rawset(_G, "prosody", prosody);
	local stats = assert(require "metre".new { operator = { active_users = true } });
	rawset(_G, "prosody", old);
	prosody.events.fire_event("server-starting");
	local self = { prosody = prosody, stats = stats };
	function self.activate(host)
		prosody.hosts[host] = { host = host, type = "local", events = events.new(), modules = {} };
		prosody.events.fire_event("host-activated", host);
	end
	function self.deactivate(host)
		prosody.hosts[host] = nil;
		prosody.events.fire_event("host-deactivated", host);
	end
	-- As a storage module does it; returns the driver.
	function self.provide(host, driver)
		prosody.hosts[host].events.fire_event("item-added/storage-provider", { item = driver });
		return driver;
	end
	-- Samples other than zero of a family, as { ["values of labels"] = value }, with this ending of the name.
	function self.samples(name, ending, zeros)
		local found = {};
		local families = stats.metric_registry:get_metric_families();
		local family = families["prosody_storage_operation_" .. name] or families["prosody_" .. name];
		for values, metric in (family and family:iter_metrics() or function () end) do
			for suffix, _, value in metric:iter_samples() do
				if suffix == ending and (value ~= 0 or zeros) then
					found[table.concat(values, " ")] = value;
				end
			end
		end
		return found;
	end
	function self.counts()
		return self.samples("duration_seconds", "_count");
	end
	for _, host in ipairs { ... } do
		self.activate(host);
	end
	return self;
end

local function driver_of(methods)
	local mt = { __index = methods };
	return {
		open = function (_, store, typ)
			return setmetatable({ store = store, type = typ }, mt);
		end;
	};
end

describe("stores in the operator pack", function ()
	it("pass arguments and results on as they are", function ()
		local world = server("a");
		local seen;
		local store = world.provide("a", driver_of {
			find = function (...)
				seen = pack(...);
				return nil, "x", nil, 4, nil;
			end;
		}):open("archive", "archive");
		local results = pack(store:find(nil, 2, nil, "four", nil));
		assert.same({ n = 5, nil, "x", nil, 4, nil }, results);
		assert.equal(6, seen.n);
		assert.equal(store, seen[1]);
		assert.same({ nil, 2, nil, "four", nil }, { unpack(seen, 2, 6) });

		local many = {};
		for i = 1, 200 do
			many[i] = i;
		end
		local echo = world.provide("a", driver_of { get = function (_, ...) return ...; end }):open("x");
		assert.same(many, { echo:get(unpack(many)) });
		assert.equal(0, select("#", echo:get()));
		assert.same({ ["archive find"] = 1, ["x get"] = 2 }, world.counts());
	end);

	it("raise what is raised, unchanged, which isn't measured", function ()
		local world = server("a");
		local object = setmetatable({}, { __tostring = function () error("no"); end });
		local what;
		local store = world.provide("a", driver_of {
			get = function () error(what, 0); end;
			set = function () return true; end;
		}):open("accounts");
		for _, raised in ipairs { "text", object, 42, false } do
			what = raised;
			local ok, err = pcall(store.get, store, "romeo");
			assert.is_false(ok);
			assert.equal(raised, err);
			-- What follows is nothing inside of it.
			assert.is_true(store:set("romeo", {}));
		end
		assert.equal(nil, world.counts()["accounts get"]);
		local ok, err = pcall(store.get, store, "romeo");
		assert.same({ false, false }, { ok, err });
	end);

	it("wait in a runner of Prosody's, and their time is that until they are done", function ()
		local world = server("a");
		local done = {};
		local driver = world.provide("a", driver_of {
			get = function (_, user)
				local wait, finish = async.waiter();
				done[user] = finish;
				wait();
				return user, nil, "late";
			end;
			set = function () return true; end;
		});
		local store, results = driver:open("roster"), {};
		local function ask(user)
			async.runner(function ()
				results[user] = pack(store:get(user));
			end):run(true);
		end
		local began = now();
		ask("romeo");
		ask("juliet");
		async.runner(function () store:set("nurse", {}); end):run(true);
		assert.same({}, results);
		pass(0.01);
		done.romeo();
		assert.same({ n = 3, "romeo", nil, "late" }, results.romeo);
		pass(0.02);
		done.juliet();
		assert.same({ n = 3, "juliet", nil, "late" }, results.juliet);
		assert.same({ ["roster get"] = 2, ["roster set"] = 1 }, world.counts());
		local sums, most = world.samples("duration_seconds", "_sum"), 2 * (now() - began);
		assert.is_true(sums["roster get"] >= 0.01 + 0.03 and sums["roster get"] <= most, sums["roster get"]);
		assert.is_true(sums["roster set"] < most - 0.04);
	end);

	it("raise after they have waited, too", function ()
		local world = server("a");
		local finish;
		local store = world.provide("a", driver_of {
			get = function ()
				local wait, done = async.waiter();
				finish = done;
				wait();
				error({ "broken" });
			end;
		}):open("roster");
		local raised;
		async.runner(function () store:get("romeo"); end, { error = function (_, err) raised = err; end }):run(true);
		finish();
		assert.truthy(raised);
		assert.same({}, world.counts());
	end);

	it("stay what they were", function ()
		local world = server("a");
		local methods = { get = function () end, _load = function () end, caps = { total = true } };
		local mt = { __index = methods, __tostring = function () return "a store"; end };
		local object = setmetatable({ store = "x" }, mt);
		local store = world.provide("a", { open = function () return object; end }):open("x");
		assert.equal(object, store);
		assert.equal("a store", tostring(store));
		assert.equal(methods.caps, store.caps);
		assert.equal(methods._load, store._load);
		assert.is_nil(store.summary);
		assert.is_nil(rawget(store, "get"));
		local fields = {};
		for key, value in pairs(store) do
			fields[key] = value;
		end
		assert.same({ store = "x" }, fields);
		-- A module that puts itself before a method.
		local get, called = store.get, 0;
		function store:get(...)
			called = called + 1;
			return get(self, ...);
		end
		store:get("romeo");
		assert.equal(1, called);
		assert.same({ ["x get"] = 1 }, world.counts());
	end);

	it("may be of any make", function ()
		local world = server("a");
		local function opened(store)
			return world.provide("a", { open = function () return store; end }):open("x");
		end
		local function get() return true; end
		assert.is_true(opened({ get = get }):get());
		assert.is_true(opened(setmetatable({}, { __index = function (_, key) return key == "get" and get or nil; end })):get());
		assert.is_true(opened(setmetatable({}, { __index = { get = get }, __newindex = function () error("read only"); end })):get());
		assert.same({ ["x get"] = 3 }, world.counts());
		-- These can't be measured.
		assert.is_true(opened(setmetatable({}, { __index = { get = get }, __metatable = false })):get());
		assert.is_true(opened(setmetatable({}, { __index = { get = get }, __metatable = {} })):get());
		assert.equal("text", opened("text"));
		assert.is_nil(opened(nil));
		assert.same({ ["x get"] = 3 }, world.counts());
		-- Results of open() are as they were.
		local driver = world.provide("a", { open = function (...) return nil, "unsupported-store", select("#", ...); end });
		assert.same({ n = 3, nil, "unsupported-store", 4 }, pack(driver:open("x", nil, nil)));
	end);

	it("are measured once, however often they or their drivers come", function ()
		local world = server("a", "b");
		local object = setmetatable({}, { __index = { get = function () return nil, "broken"; end } });
		local driver = { open = function () return object; end };
		world.provide("a", driver);
		world.provide("a", driver);
		-- As a driver that asks another one.
		local other = world.provide("a", { open = function (_, ...) return driver:open(...); end });
		driver:open("x");
		other:open("x"):get();
		assert.same({ ["x get"] = 1 }, world.counts());
		assert.same({ ["a x get"] = 1 }, world.samples("errors", "_total"));
		-- One object for several stores: nobody knows which one is asked.
		driver:open("y"):get();
		assert.same({ ["x get"] = 1, ["other get"] = 1 }, world.counts());
		-- On another host its operations are that one's.
		world.provide("b", driver);
		driver:open("x"):get();
		assert.same({ ["a x get"] = 1, ["a other get"] = 1, ["b other get"] = 1 }, world.samples("errors", "_total"));
	end);

	it("don't count twice what they ask of themselves", function ()
		local world = server("a");
		local methods = { find = function () return nil, "broken"; end; set_keys = function () return true; end };
		function methods:get()
			return self:find();
		end
		methods.summary = methods.get;
		function methods:set()
			return self:set_keys();
		end
		local store = world.provide("a", driver_of(methods)):open("archive");
		store:get();
		store:find();
		store:summary();
		store:set();
		assert.same({ ["archive get"] = 1, ["archive find"] = 1, ["archive other"] = 1, ["archive set"] = 1 }, world.counts());
		assert.same({ ["a archive get"] = 1, ["a archive find"] = 1, ["a archive other"] = 1 }, world.samples("errors", "_total"));
		store:set_keys();
		assert.equal(2, world.counts()["archive set"]);
	end);

	it("tell what two runners ask of one store apart", function ()
		local world = server("a");
		local finish;
		local methods = { find = function () end };
		function methods:get()
			local wait, done = async.waiter();
			finish = done;
			wait();
			return self:find();
		end
		local store = world.provide("a", driver_of(methods)):open("archive");
		async.runner(function () store:get(); end):run(true);
		async.runner(function () store:find(); end):run(true);
		assert.same({ ["archive find"] = 1 }, world.counts());
		finish();
		assert.same({ ["archive find"] = 1, ["archive get"] = 1 }, world.counts());
	end);

	it("count as errors only what has failed, beginning at zero", function ()
		local world = server("a");
		local answer = {};
		local store = world.provide("a", driver_of { get = function () return unpack(answer, 1, 2); end }):open("accounts");
		local function errors()
			return world.samples("errors", "_total", true)["a accounts get"];
		end
		assert.is_nil(errors());
		for _, ordinary in ipairs {
			{ nil, nil }, { false, nil }, { true, "x" }, { 0, "x" }, { {}, nil }, { nil, "item-not-found" }, { nil, "quota-limit" },
			{ nil, "Storage disabled" }, { nil, { condition = "item-not-found" } },
		} do
			answer = ordinary;
			store:get();
			assert.equal(0, errors());
		end
		for i, failure in ipairs { { nil, "disk full" }, { false, "x" }, { nil, {} }, { nil, true } } do
			answer = failure;
			store:get();
			assert.equal(i, errors());
		end
	end);

	it("have names that nobody from outside can make series with", function ()
		local world = server("a");
		local driver = world.provide("a", driver_of { get = function () end, set = function () end });
		for i = 1, 300 do
			driver:open("pep_http://example.com/" .. i):get();
			driver:open("pubsub_" .. ("x"):rep(i)):set();
		end
		driver:open("pep"):get();
		driver:open({}):get();
		assert.same({ ["pep get"] = 301, ["pubsub set"] = 300, ["other get"] = 1 }, world.counts());
		for i = 1, 300 do
			driver:open(("\0\"\n{" .. i .. "é"):rep(100)):get();
		end
		driver:open("accounts"):get();
		local counts, n, sum = world.counts(), 0, 0;
		for key, count in pairs(counts) do
			assert.truthy(key:match("^[%w_-]+ %l+$") and #key < 40, key);
			n = n + 1;
			sum = sum + count;
		end
		assert.equal(300 + 602 + 1, sum);
		assert.equal(1, counts["accounts get"]);
		assert.truthy(n <= 15, n);
	end);

	it("work after their host is gone, and after it has come again", function ()
		local world = server("a", "b");
		local driver = driver_of { get = function () return nil, "broken"; end };
		local store = world.provide("a", driver):open("accounts");
		store:get();
		world.deactivate("a");
		store:get();
		assert.same({ nil, "broken" }, { store:get() });
		assert.same({}, world.samples("errors", "_total"));
		world.activate("a");
		store:get();
		assert.same({}, world.samples("errors", "_total"));
		world.provide("a", driver);
		store:get();
		assert.same({ ["a accounts get"] = 1 }, world.samples("errors", "_total"));
		assert.same({ ["accounts get"] = 5 }, world.counts());
	end);

	it("work if metre doesn't", function ()
		local families = require "metre.operator.families";
		local name = "prosody_storage_operation_duration_seconds";
		local family = families[name];
		local world = server("a");
		local store = world.provide("a", driver_of { get = function (...) return nil, ...; end }):open("accounts");
		families[name] = nil;
		local results = pack(pcall(store.get, store, nil, 3, nil));
		families[name] = family;
		assert.same({ n = 6, true, nil, store, nil, 3, nil }, results);
		-- It isn't tried again.
		assert.is_nil((store:get()));
		assert.same({}, world.counts());
	end);
end);

describe("messages in the operator pack", function ()
	it("are counted by what handlers answer, who notice nothing, and may wait", function ()
		local world = server("a", "b");
		local host = world.prosody.hosts.a.events;
		world.prosody.hosts.a.modules.offline = {};
		host.fire_event("module-loaded", { module = "offline", host = "a" });
		local answer, finish, seen;
		local function handler(event)
			seen = event;
			if finish == "wait" then
				local wait, done = async.waiter();
				finish = done;
				wait();
			end
			return answer;
		end
		host.add_handler("message/offline/handle", handler, -1);
		local event = { username = "romeo" };
		for _, result in ipairs { true, "kept", false, 0 } do
			answer = result;
			assert.equal(result, host.fire_event("message/offline/handle", event));
			assert.equal(event, seen);
		end
		assert.same({ ["a stored"] = 3, ["a refused"] = 1 }, world.samples("offline_messages", "_total"));
		local given;
		finish, answer = "wait", true;
		async.runner(function () given = host.fire_event("message/offline/handle", event); end):run(true);
		assert.is_nil(given);
		assert.equal(3, world.samples("offline_messages", "_total")["a stored"]);
		finish();
		assert.is_true(given);
		assert.equal(4, world.samples("offline_messages", "_total")["a stored"]);
		host.remove_handler("message/offline/handle", handler);
		assert.is_nil(host.fire_event("message/offline/handle", event));
		assert.same({ ["a stored"] = 4, ["a refused"] = 2 }, world.samples("offline_messages", "_total"));
		-- Where nothing keeps messages there is nothing to count, and errors stay those of the handler.
		assert.is_nil(world.prosody.hosts.b.events.fire_event("message/offline/handle", event));
		host.add_handler("message/offline/handle", function () error({ "broken" }); end);
		local ok, err = pcall(host.fire_event, "message/offline/handle", event);
		assert.same({ false, { "broken" } }, { ok, err });
		assert.same({ ["a stored"] = 4, ["a refused"] = 2 }, world.samples("offline_messages", "_total"));
	end);

	it("are delivered by those who notice nothing, and may wait", function ()
		local world = server("a");
		local host, filters = world.prosody.hosts.a.events, require "util.filters";
		world.prosody.hosts.a.modules.offline = {};
		host.fire_event("module-loaded", { module = "offline", host = "a" });
		local session, sent = { host = "a" }, {};
		local filter = filters.initialize(session);
		local function stanza(name, from)
			return { name = name, get_child_with_attr = function (_, child, xmlns, key, value)
				return from and child == "delay" and xmlns == "urn:xmpp:delay" and key == "from" and value == from;
			end };
		end
		local function send(...)
			local it = stanza(...);
			assert.equal(it, filter("stanzas/out", it));
			table.insert(sent, it);
		end
		local finish;
		host.add_handler("message/offline/broadcast", function (event)
			assert.equal(session, event.origin);
			send("message", "a");
			send("message", "room.a");
			send("message");
			send("presence", "a");
			local wait, done = async.waiter();
			finish = done;
			wait();
			send("message", "a");
			return true;
		end);
		local given;
		send("message", "a");
		async.runner(function () given = host.fire_event("message/offline/broadcast", { origin = session }); end):run(true);
		assert.same({ ["a delivered"] = 1 }, world.samples("offline_messages", "_total"));
		finish();
		assert.is_true(given);
		send("message", "a");
		assert.equal(7, #sent);
		assert.same({ ["a delivered"] = 2 }, world.samples("offline_messages", "_total"));
	end);
end);

describe("users in the operator pack", function ()
	it("are counted with Prosody's functions, which may wait and fail", function ()
		local world = server("a", "b", "c", "d");
		local hosts = world.prosody.hosts;
		local function provide(host, names)
			hosts[host].users = { users = function () return ipairs(names); end };
			hosts[host].sessions = {};
		end
		provide("a", { 10, 20, 3 * 86400, 8 * 86400, 90 * 86400, -1 });
		provide("b", { 1 });
		provide("c", { 1, 2 });
		hosts.b.users.users = function () error("the database is away"); end;
		hosts.d.users = { users = function () return nil, "method not implemented"; end };
		local finish;
		hosts.a.modules = { account_activity = {
			get_last_active = function (number)
				if number == 3 then
					local wait, done = async.waiter();
					finish = done;
					wait();
				end
				local age = ({ 10, 20, 3 * 86400, 8 * 86400, 90 * 86400 })[number];
				return age and os.time() - age;
			end;
		} };
		hosts.a.users.users = function ()
			local n = 0;
			return function ()
				n = n + 1;
				pass(0.003); -- longer than a slice
				return n <= 6 and n or nil;
			end;
		end;
		world.prosody.events.fire_event("server-started");
		for _ = 1, 50 do
			tick();
			if finish then
				finish();
				finish = nil;
			end
		end
		assert.same({ a = 6, c = 2 }, world.samples("users_registered", ""));
		assert.same({ ["a 1d"] = 2, ["a 7d"] = 3, ["a 30d"] = 4 }, world.samples("active_users", ""));
	end);
end);
