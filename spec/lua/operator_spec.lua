-- The operator pack in a Prosody that has nothing but events and hosts.

local events = require "util.events";
local families = require "metre.operator.families";
local logged_by = require "support.providers".logged_by;

local tasks = {};

-- What sources may ask for, where Prosody is needed to have the real one.
local stand_ins = {
	["core.certmanager"] = { create_context = function () return nil; end };
	["core.configmanager"] = { get = function () end, getconfig = function () return {}; end };
	["core.modulemanager"] = { get_modules = function () return {}; end, get_module = function () end };
	["core.portmanager"] = { get_registered_services = function () return {}; end, get_active_services = function ()
		return { iter = function () return function () end; end; get = function () end };
	end };
	["core.usermanager"] = { users = function () return function () end; end };
	["core.sessionmanager"] = { bind_resource = function () end, make_authenticated = function () end, new_session = function () end };
	["core.storagemanager"] = { open = function () end };
	["lfs"] = { attributes = function () end };
	["net.adns"] = { lookup = function () end, resolver = function () return { lookup = function () end }; end };
	["net.server"] = { watchfd = function () return { close = function () end }; end };
	["ssl"] = { loadcertificate = function () end };
	["util.async"] = { runner = function () return { run = function () end }; end };
	["util.timer"] = {
		add_task = function (seconds, f)
			table.insert(tasks, { seconds = seconds, f = f });
			return {};
		end;
	};
};

local function fake_prosody(process_type)
	return {
		arg = {};
		core_post_stanza = function () end;
		core_process_stanza = function () end;
		core_route_stanza = function () end;
		events = events.new();
		full_sessions = {};
		bare_sessions = {};
		hosts = {};
		incoming_s2s = {};
		paths = { config = "/nonexistent/etc" };
		process_type = process_type or "prosody";
		start_time = 1700000000;
		version = "0.99";
	};
end

-- Calls f(prosody, ...) in such a Prosody.
local function with_prosody(f, prosody)
	prosody = prosody or fake_prosody();
	tasks = {};
	local old, loaded = rawget(_G, "prosody"), {};
	rawset(_G, "prosody", prosody);
	for name, module in pairs(stand_ins) do
		loaded[name], package.loaded[name] = package.loaded[name] or false, module;
	end
	local ok, err = pcall(f, prosody);
	rawset(_G, "prosody", old);
	for name in pairs(stand_ins) do
		package.loaded[name] = loaded[name] or nil;
	end
	assert(ok, err);
end

-- A provider with nothing on its page but what modules and the pack have.
local function new(config)
	local all = { self_metrics = false, process_metrics = false };
	for key, value in pairs(config or {}) do
		all[key] = value;
	end
	return assert(require "metre".new(all));
end

local function activate(prosody, host, kind)
	prosody.hosts[host] = {
		events = events.new();
		host = host;
		modules = {};
		s2sout = {};
		sessions = kind ~= "component" and {} or nil;
		type = kind or "local";
	};
	prosody.events.fire_event("host-activated", host);
	return prosody.hosts[host];
end

local function deactivate(prosody, host)
	prosody.hosts[host] = nil;
	prosody.events.fire_event("host-deactivated", host);
end

-- A module as hosts list it, and the event that it is there.
local function load_module(prosody, host, name)
	local session = prosody.hosts[host];
	session.modules[name] = { module = {}, live_rooms = function () return function () end; end };
	session.events.fire_event("module-loaded", { module = name, host = host });
end

-- The samples on the page of all families whose names begin like this, as a table by name and labels.
local function samples(stats, prefix)
	local found = {};
	for line in stats.metric_registry:render():gmatch("[^\n]+") do
		if line:find(prefix or "prosody_", 1, true) == 1 and not line:find("_created", 1, true) then
			local series, value = line:match("^(.*) (%S+)$");
			found[series] = tonumber(value);
		end
	end
	return found;
end

-- A pack without sources, and its provider.
local function bare_pack(prosody, config)
	local stats, faults = new(config or { operator = false }), {};
	local provider = setmetatable({
		fault = function (what)
			table.insert(faults, what);
		end;
		operator = {};
	}, { __index = stats._native });
	local pack = require "metre.operator.pack".new(prosody, provider, stats);
	prosody.events.add_handler("host-activated", function (host) pack:add_host(host); end);
	prosody.events.add_handler("host-deactivated", function (host) pack:remove_host(host); end);
	return pack, stats, faults;
end

local function count(values)
	local n = 0;
	for _ in pairs(values) do
		n = n + 1;
	end
	return n;
end

-- How many handlers each event has.
local function handlers(prosody)
	local counts = {};
	for event, map in pairs(prosody.events._event_map) do
		counts[event] = count(map);
	end
	return counts;
end

describe("the operator pack", function ()
	it("hooks nothing where it isn't wanted, and in prosodyctl", function ()
		local without;
		with_prosody(function (prosody)
			new({ operator = false });
			without = handlers(prosody);
			assert.is_nil(without["host-activated"]);
			assert.is_nil(without["server-starting"]);
		end);
		with_prosody(function (prosody)
			new();
			assert.equal(1, handlers(prosody)["host-activated"]);
			assert.equal(1, handlers(prosody)["server-starting"]);
		end);
		with_prosody(function (prosody)
			new();
			assert.same({}, handlers(prosody));
		end, fake_prosody("prosodyctl"));
	end);

	it("has all its sources hook without errors, and hosts come and go", function ()
		with_prosody(function (prosody)
			local stats;
			local lines = logged_by(function ()
				stats = new();
				prosody.events.fire_event("server-starting");
				activate(prosody, "a.example");
				activate(prosody, "rooms.example", "component");
				for _, name in ipairs { "muc", "smacks", "mam", "muc_mam", "offline", "register_ibr", "cloud_notify", "component" } do
					load_module(prosody, "a.example", name);
					load_module(prosody, "rooms.example", name);
				end
				prosody.events.fire_event("hosts-activated", {});
				prosody.events.fire_event("server-started");
				prosody.events.fire_event("stats-update");
				prosody.events.fire_event("config-reloaded");
				prosody.events.fire_event("logging-reloaded");
				prosody.events.fire_event("stats-update");
			end);
			local complaints = {};
			for _, line in ipairs(lines) do
				if line:find("^warn") or line:find("^error") then
					table.insert(complaints, line);
				end
			end
			assert.same({}, complaints);
			local before = samples(stats);
			assert.equal(1700000000, before.prosody_start_time_seconds);
			assert.equal(1, before.prosody_config_reloads_total);
			deactivate(prosody, "a.example");
			prosody.events.fire_event("stats-update");
			for series in pairs(samples(stats)) do
				assert.is_nil(series:find('"a.example"', 1, true), series);
			end
			activate(prosody, "a.example");
			deactivate(prosody, "a.example");
			deactivate(prosody, "rooms.example");
			prosody.events.fire_event("server-stopped");
		end);
	end);

	it("does nothing with sources that fail but say so once", function ()
		with_prosody(function (prosody)
			local operator = require "metre.operator";
			table.insert(operator.sources, 1, "broken");
			package.loaded["metre.operator.broken"] = function () error("no luck", 0); end
			local lines = logged_by(function ()
				local stats = new();
				prosody.events.fire_event("server-starting");
				assert.truthy(samples(stats).prosody_config_reloads_total);
			end);
			table.remove(operator.sources, 1);
			package.loaded["metre.operator.broken"] = nil;
			assert.same({ "error: Please report: metrics for operators miss what concerns broken from now on: no luck" }, lines);
		end);
	end);
end);

describe("a hook of the pack", function ()
	it("returns nothing, raises nothing, and does nothing once it has failed", function ()
		with_prosody(function (prosody)
			local pack, _, faults = bare_pack(prosody);
			local calls = 0;
			local guarded = pack:guard("this", function (value)
				calls = calls + 1;
				return value.x;
			end);
			local unspeakable = setmetatable({}, { __tostring = function () error("no"); end });
			local silent = pack:guard("that", function () error(unspeakable); end);
			local lines = logged_by(function ()
				assert.equal(0, select("#", guarded({ x = 1 })));
				assert.same({}, faults);
				assert.equal(0, select("#", guarded()));
				assert.equal(0, select("#", guarded({ x = 1 })));
				assert.equal(0, select("#", silent()));
				silent();
			end);
			assert.equal(2, calls);
			assert.same({ "operator.this", "operator.that" }, faults);
			assert.equal(2, #lines);
			assert.truthy(lines[1]:find("^error: Please report: .* this from now on: .*index"), lines[1]);
			assert.truthy(lines[2]:find("an error that is a table$"), lines[2]);
		end);
	end);

	it("leaves an event to the others, at its place among them", function ()
		with_prosody(function (prosody)
			local pack = bare_pack(prosody);
			local order = {};
			local function note(what, result)
				return function ()
					table.insert(order, what);
					return result;
				end
			end
			pack:hook("first", "e", note("first", true), 10);
			pack:hook("second", "e", note("second", false), 5);
			pack:hook("third", "e", function () error("third"); end, 4);
			prosody.events.add_handler("e", note("theirs", "their result"), 1);
			pack:hook("last", "e", note("last"), 0);
			logged_by(function ()
				assert.equal("their result", prosody.events.fire_event("e"));
			end);
			assert.same({ "first", "second", "theirs" }, order);
		end);
	end);

	it("is there on each host, and knows which", function ()
		with_prosody(function (prosody)
			local pack = bare_pack(prosody);
			local seen = {};
			pack:hook_hosts("seen", "e", function (event, host)
				table.insert(seen, host .. event);
				return true;
			end);
			local a, b = activate(prosody, "a"), activate(prosody, "b");
			assert.is_nil(a.events.fire_event("e", 1));
			b.events.fire_event("e", 2);
			deactivate(prosody, "a");
			activate(prosody, "a").events.fire_event("e", 3);
			-- Whoever holds on to the old one.
			a.events.fire_event("e", 4);
			assert.same({ "a1", "b2", "a3", "a4" }, seen);
		end);
	end);

	it("collects between cork and uncork, whatever fails", function ()
		with_prosody(function (prosody)
			local pack, stats = bare_pack(prosody);
			local calls = {};
			pack.stats = {
				cork = function () table.insert(calls, "cork"); end;
				uncork = function () table.insert(calls, "uncork"); end;
			};
			pack:on_collection("bad", function () error("bad"); end);
			pack:on_collection("good", function () table.insert(calls, "good"); end);
			assert.equal(1, #logged_by(function ()
				pack:collect();
				pack:collect();
			end));
			assert.same({ "cork", "good", "uncork", "cork", "good", "uncork" }, calls);
			assert.truthy(stats);
		end);
	end);

	it("comes later, again and again until it fails", function ()
		with_prosody(function (prosody)
			local pack = bare_pack(prosody);
			local calls = 0;
			pack:later("later", 5, function ()
				calls = calls + 1;
				return calls < 3 and 60 or error("enough");
			end);
			assert.same({}, tasks);
			prosody.events.fire_event("server-started");
			assert.equal(1, #tasks);
			assert.equal(5, tasks[1].seconds);
			assert.equal(60, tasks[1].f());
			assert.equal(60, tasks[1].f());
			assert.equal(1, #logged_by(function ()
				assert.is_nil(tasks[1].f());
			end));
			assert.is_nil(tasks[1].f());
			assert.equal(3, calls);
		end);
	end);
end);

describe("hosts of the pack", function ()
	it("have their series at zero from the beginning, and take them along", function ()
		with_prosody(function (prosody)
			local pack, stats = bare_pack(prosody);
			local opened = pack:all_of_hosts("prosody_sessions_opened");
			local offline = pack:all_of_hosts("prosody_offline_messages");
			local reloads = pack:metric("prosody_config_reloads");
			activate(prosody, "a");
			activate(prosody, "b");
			activate(prosody, "c", "component");
			assert.is_nil(opened.c);
			assert.same({
				['prosody_sessions_opened_total{host="a"}'] = 0;
				['prosody_sessions_opened_total{host="b"}'] = 0;
				['prosody_offline_messages_total{host="a",outcome="stored"}'] = 0;
				['prosody_offline_messages_total{host="a",outcome="delivered"}'] = 0;
				['prosody_offline_messages_total{host="a",outcome="refused"}'] = 0;
				['prosody_offline_messages_total{host="b",outcome="stored"}'] = 0;
				['prosody_offline_messages_total{host="b",outcome="delivered"}'] = 0;
				['prosody_offline_messages_total{host="b",outcome="refused"}'] = 0;
				prosody_config_reloads_total = 0;
			}, samples(stats));
			opened.a:add(2);
			offline.a.refused:add(3);
			offline.b.refused:add(4);
			reloads:add(1);
			deactivate(prosody, "a");
			assert.is_nil(opened.a);
			assert.is_nil(offline.a);
			local rest = samples(stats);
			assert.equal(5, count(rest));
			assert.equal(4, rest['prosody_offline_messages_total{host="b",outcome="refused"}']);
			activate(prosody, "a");
			assert.equal(0, samples(stats)['prosody_sessions_opened_total{host="a"}']);
			opened.a:add(1);
			assert.equal(1, samples(stats)['prosody_sessions_opened_total{host="a"}']);
			assert.equal(9, count(samples(stats)));
		end);
	end);

	it("bear events that come twice, late, or for nobody", function ()
		with_prosody(function (prosody)
			local pack, stats, faults = bare_pack(prosody);
			local added, removed = {}, {};
			pack:on_host("names", function (host, session)
				assert(session.host == host);
				table.insert(added, host);
			end, function (host)
				table.insert(removed, host);
			end);
			local opened = pack:all_of_hosts("prosody_sessions_opened");
			prosody.events.fire_event("host-activated", "nobody");
			deactivate(prosody, "nobody");
			activate(prosody, "a");
			opened.a:add(1);
			-- Somebody has kept the event of its end to himself.
			activate(prosody, "a");
			assert.same({ "a", "a" }, added);
			assert.same({ "a" }, removed);
			assert.same({ ['prosody_sessions_opened_total{host="a"}'] = 0 }, samples(stats));
			deactivate(prosody, "a");
			deactivate(prosody, "a");
			assert.same({ "a", "a" }, removed);
			assert.same({}, samples(stats));
			assert.same({}, faults);
			assert.equal(0, pack._lines);
		end);
	end);

	it("have what modules have once one of them is loaded, wherever it says so", function ()
		with_prosody(function (prosody)
			local pack, stats, faults = bare_pack(prosody);
			local rooms = pack:all_of_modules("prosody_muc_rooms", { muc = true, other = true });
			local a, b = activate(prosody, "a"), activate(prosody, "b");
			load_module(prosody, "a", "roster");
			assert.same({}, samples(stats));
			load_module(prosody, "a", "muc");
			rooms.a:set(5);
			load_module(prosody, "a", "other");
			a.events.fire_event("module-reloaded", { module = "muc", host = "a" });
			assert.same({ ['prosody_muc_rooms{host="a"}'] = 5 }, samples(stats));
			-- A global module, which is on b for the first time.
			b.modules.other = { module = {} };
			prosody.events.fire_event("module-loaded", { module = "other", host = "*" });
			assert.same({ ['prosody_muc_rooms{host="a"}'] = 5, ['prosody_muc_rooms{host="b"}'] = 0 }, samples(stats));
			deactivate(prosody, "b");
			prosody.events.fire_event("module-loaded", { module = "other", host = "*" });
			b.events.fire_event("module-loaded", { module = "muc", host = "b" });
			assert.same({ ['prosody_muc_rooms{host="a"}'] = 5 }, samples(stats));
			assert.same({}, faults);
		end);
	end);

	it("are labels, and nothing else is", function ()
		with_prosody(function (prosody)
			prosody.hosts = setmetatable({ ["a"] = {} }, { __index = function () return {}; end });
			local pack = bare_pack(prosody);
			assert.equal("a", pack:host_label("a"));
			assert.equal("", pack:host_label("b"));
			assert.equal("", pack:host_label(nil));
			assert.equal("", pack:host_label(false));
		end);
	end);

	it("make room for series that are bounded by number", function ()
		with_prosody(function (prosody)
			local pack, _, faults = bare_pack(prosody);
			local name = "prosody_storage_operation_duration_seconds";
			local lines = #families[name].buckets + 3;
			local function filled()
				local made = 0;
				while pack:has_room(name) do
					made = made + 1;
					pack:metric(name, "store" .. pack._lines, "get");
				end
				return made;
			end
			-- What may come on any host needs room, too.
			local kept, of_host = 64, 6;
			assert.equal(math.floor((350 - kept) / lines), filled());
			pack:all_of_hosts("prosody_offline_messages");
			activate(prosody, "a");
			assert.equal(0, filled());
			activate(prosody, "b");
			local most = 440 - kept - 2 * of_host;
			assert.is_true(filled() > 5);
			assert.is_true(pack._lines <= most and pack._lines > most - lines, pack._lines);
			assert.is_true(pack:has_room("prosody_dns_seconds", true));
			deactivate(prosody, "b");
			assert.is_false(pack:has_room(name));
			assert.is_false(pack:has_room(name, true));
			assert.same({}, faults);
		end);
	end);
end);

describe("rules and limits", function ()
	it("hold for the pack's families", function ()
		with_prosody(function (prosody)
			local pack, stats, faults = bare_pack(prosody, {
				operator = false; labels = { cluster = "eu" };
				rule = {
					{ match = "prosody_offline_*", drop = true };
					{ match = "prosody_c2s_login_duration_seconds", buckets = { 1, 2 } };
					{ match = "prosody_sessions_closed", max_series = 2 };
				};
			});
			local closed, offline;
			local lines = logged_by(function ()
				closed = pack:all_of_hosts("prosody_sessions_closed");
				offline = pack:all_of_hosts("prosody_offline_messages");
				pack:metric("prosody_c2s_login_duration_seconds"):sample(1.5);
				activate(prosody, "a");
				offline.a.stored:add(1);
				for _, cause in ipairs(families.prosody_sessions_closed.values.cause) do
					closed.a[cause]:add(1);
				end
			end);
			assert.equal(1, #lines);
			assert.truthy(lines[1]:find("prosody_sessions_closed", 1, true), lines[1]);
			local found = samples(stats);
			assert.equal(0, found['prosody_c2s_login_duration_seconds_bucket{cluster="eu",le="1"}']);
			assert.equal(1, found['prosody_c2s_login_duration_seconds_bucket{cluster="eu",le="2"}']);
			assert.equal(0, count(samples(stats, "prosody_offline")));
			assert.is_true(count(samples(stats, "prosody_sessions_closed")) <= 3);
			deactivate(prosody, "a");
			assert.equal(0, count(samples(stats, 'prosody_sessions_closed_total{cluster="eu",host="a"')));
			assert.same({}, faults);
		end);
	end);
end);

describe("the families", function ()
	local units = { seconds = true, bytes = true };
	for name, spec in pairs(families) do
		it(name .. " follow the rules", function ()
			assert.truthy(name:find("^prosody_[a-z0-9_]*[a-z0-9]$"));
			assert.is_nil(name:find("__", 1, true));
			-- Those are modules'.
			assert.is_nil(name:find("^prosody_mod_"));
			for _, suffix in ipairs { "total", "created", "count", "sum", "bucket", "info" } do
				assert.is_true(name == "prosody_info" or not name:find("_" .. suffix .. "$"), suffix);
			end
			assert.truthy(({ counter = true, gauge = true, histogram = true })[spec.type]);
			for unit in pairs(units) do
				assert.equal(name:find("_" .. unit .. "$") ~= nil, spec.unit == unit);
			end
			assert.is_true(spec.unit == nil or units[spec.unit]);
			assert.truthy(spec.help:find("^%u[^\n\"\\]*[^%s.]$"), spec.help);
			assert.equal(spec.type == "histogram", spec.buckets ~= nil);
			for i, bucket in ipairs(spec.buckets or {}) do
				assert.is_true(bucket > (spec.buckets[i - 1] or 0));
			end
			local keys = {};
			for i, key in ipairs(spec.labels or {}) do
				assert.truthy(key:find("^[a-z][a-z_]*$"));
				assert.is_true(key ~= "host" or i == 1);
				assert.is_true(key ~= "le" and not keys[key]);
				keys[key] = true;
			end
			for key, values in pairs(spec.values or {}) do
				assert.is_true(keys[key]);
				local seen = {};
				for _, value in ipairs(values) do
					assert.truthy(value:find("^[a-z0-9][a-z0-9-]*$"), value);
					assert.is_nil(seen[value]);
					seen[value] = true;
				end
			end
			for key in pairs(keys) do
				local bounded = { host = true, store = true, operation = true, remote = true, cause = true, qclass = true, qtype = true,
					service = true, state = true, version = true };
				assert.is_true(bounded[key] or spec.values and spec.values[key] ~= nil, key);
			end
		end);
	end
end);
