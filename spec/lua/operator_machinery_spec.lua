-- Parts of the operator pack that count events of hosts, where a real Prosody would need thousands of them or odd modules.

local events = require "util.events";

-- A Prosody with events and hosts alone, in which one source of the pack is.
local function server(source, options, kind)
	local prosody = { hosts = {}, events = events.new(), core_process_stanza = function () return "done"; end };
	local stats = assert(require "metre".new { self_metrics = false, process_metrics = false });
	local faults = {};
	local pack = require "metre.operator.pack".new(prosody, {
		operator = options or {};
		fault = function (what) table.insert(faults, what); end;
	}, stats);
	local self = { prosody = prosody, pack = pack };
	require("metre.operator." .. source)(pack);
	function self.add()
		self.host = { host = "a.example", type = kind or "component", events = events.new(), modules = {} };
		prosody.hosts["a.example"] = self.host;
		pack:add_host("a.example");
	end
	self.add();
	function self.fire(event, data)
		-- What a handler of the pack's returns would end the event.
		assert.is_nil(self.host.events.fire_event(event, data));
	end
	-- Nothing else is to happen to a host that is gone.
	function self.remove()
		prosody.hosts["a.example"] = nil;
		pack:remove_host("a.example");
	end
	-- The values of a family that aren't zero, as { ["label label"] = value }.
	function self.values(name)
		pack:collect();
		assert.same({}, faults);
		local found = {};
		local family = stats.metric_registry:get_metric_families()[name];
		for values, metric in (family and family:iter_metrics() or function () end) do
			for suffix, _, value in metric:iter_samples() do
				if value ~= 0 and (suffix == "" or suffix == "_total") then
					found[table.concat(values, " ")] = value;
				end
			end
		end
		return found;
	end
	return self;
end

describe("push notifications", function ()
	local name = "prosody_push_notifications";
	local function sent(it, id)
		it.fire("cloud_notify/push", { notification_stanza = { attr = { id = id, to = "push.example" } } });
	end
	local function answered(it, id, type)
		it.fire("iq/host", { stanza = { attr = { id = id, from = "push.example", type = type or "result" } } });
	end

	it("are remembered up to a thousand, the newest of them", function ()
		local it = server("push");
		for i = 1, 1500 do
			sent(it, "id" .. i);
		end
		answered(it, "id500");
		answered(it, "id501");
		answered(it, "id1500", "error");
		answered(it, "id1500", "error");
		assert.same({ ["a.example sent"] = 1500, ["a.example ok"] = 1, ["a.example error"] = 1 }, it.values(name));
	end);

	it("may lack what others need, and outlive their host", function ()
		local it = server("push");
		it.fire("cloud_notify/push", { notification_stanza = { attr = {} } });
		it.fire("iq/host", { stanza = { attr = {} } });
		sent(it, "late");
		it.remove();
		answered(it, "late");
		sent(it, "later");
		assert.same({}, it.values(name));
	end);
end);

describe("registrations", function ()
	it("count on hosts that are there", function ()
		local it = server("registrations");
		it.fire("user-registering", { allowed = true });
		it.fire("user-registering", {});
		assert.same({ ["a.example true"] = 1, ["a.example false"] = 1 }, it.values "prosody_user_registrations");
		it.remove();
		it.fire("user-registering", { allowed = true });
		assert.same({}, it.values "prosody_user_registrations");
	end);
end);

describe("sessions of users", function ()
	it("are not those of a host that has gone and come back, which end later", function ()
		local it = server("sessions", nil, "local");
		local function expect(sessions, users, opened, closed)
			assert.same({ ["a.example connected"] = sessions }, it.values "prosody_sessions");
			assert.same({ ["a.example"] = users }, it.values "prosody_users_online");
			assert.same({ ["a.example"] = opened }, it.values "prosody_sessions_opened");
			assert.same({ ["a.example connection"] = closed }, it.values "prosody_sessions_closed");
		end
		local old, new = { username = "user" }, { username = "user" };
		it.fire("resource-bind", { session = old });
		expect(1, 1, 1);
		it.remove();
		it.add();
		it.fire("resource-bind", { session = new });
		expect(1, 1, 1);
		it.fire("smacks-hibernation-start", { origin = old });
		it.fire("smacks-hibernation-end", { resumed = old });
		it.fire("resource-unbind", { session = old });
		expect(1, 1, 1);
		it.fire("resource-unbind", { session = new });
		it.fire("resource-unbind", { session = new });
		expect(nil, nil, 1, 1);
	end);
end);

describe("rooms", function ()
	it("are counted where only their list is known, and occupants before there are too many changes", function ()
		local it = server("muc");
		local all = {};
		it.host.modules.muc = {
			live_rooms = function ()
				local key;
				return function ()
					key = next(all, key);
					return key;
				end;
			end;
		};
		it.fire("module-loaded", { module = "muc" });
		for i = 1, 2500 do
			local room = { jid = i .. "@a.example", _occupants = { one = {}, two = {} } };
			all[room] = true;
			it.fire("muc-occupant-joined", { room = room });
			it.fire("muc-occupant-joined", { room = room });
		end
		assert.same({ ["a.example"] = 2500 }, it.values "prosody_muc_rooms");
		assert.same({ ["a.example"] = 5000 }, it.values "prosody_muc_occupants");
		assert.same({ ["a.example"] = 5000 }, it.values "prosody_muc_joins");
		for room in pairs(all) do
			room._occupants.one = nil;
			it.fire("muc-occupant-left", { room = room });
		end
		assert.same({ ["a.example"] = 2500 }, it.values "prosody_muc_occupants");
		for room in pairs(all) do
			it.fire("muc-room-destroyed", { room = room });
			it.fire("muc-occupant-left", { room = { jid = room.jid, _occupants = {} } });
		end
		all = {};
		assert.same({}, it.values "prosody_muc_occupants");
		assert.same({}, it.values "prosody_muc_rooms");
		it.remove();
		it.fire("muc-occupant-joined", { room = { jid = "late@a.example", _occupants = {} } });
		assert.same({}, it.values "prosody_muc_joins");
	end);
end);

describe("stanzas", function ()
	it("pass whatever other filters have made of them", function ()
		local filters = require "util.filters";
		local it = server("stanzas", { stanzas = true });
		local session = { type = "c2s" };
		filters.initialize(session);
		filters.initialize(session);
		local left;
		filters.add_filter(session, "stanzas/out", function () return left; end, -1e300);
		for _, value in ipairs { true, "text", 5, {}, { name = "message" }, { name = "r", attr = {} }, print, false } do
			left = value;
			assert.equal(value, session.filter("stanzas/out", {}));
		end
		left = { name = "iq", attr = {} };
		for _, type in ipairs { "c2s", "admin", "s2sin", "c2s_destroyed" } do
			session.type = type;
			session.filter("stanzas/out", {});
		end
		session.type = nil;
		session.filter("stanzas/out", {});
		assert.same({ ["out c2s message"] = 1, ["out c2s iq"] = 2, ["out s2s iq"] = 1 }, it.values "prosody_stanzas");
	end);

	it("that are errors in all ways are counted with their conditions", function ()
		local filters = require "util.filters";
		local it = server("stanzas", { stanzas = true });
		local session = { type = "s2sout" };
		filters.initialize(session);
		local function failing(...)
			return { name = "presence", attr = { type = "error" }, tags = { { name = "x", attr = {}, tags = {} }, ... } };
		end
		local function part(name)
			return { name = name, attr = { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }, tags = {} };
		end
		for _, stanza in ipairs {
			failing(), failing { name = "error", attr = {}, tags = {} }, failing { name = "error", attr = {}, tags = { part "evil" } },
			failing { name = "error", attr = {}, tags = { { name = "gone", attr = {} }, part "text", part "conflict", part "gone" } },
		} do
			session.filter("stanzas/out", stanza);
		end
		assert.same({ ["presence other"] = 3, ["presence conflict"] = 1 }, it.values "prosody_stanza_errors");
	end);
end);

describe("a login from before SASL", function ()
	it("is answered by the next stanza, whatever else is sent before", function ()
		package.loaded["core.sessionmanager"] = { destroy_session = function () end };
		local it = server("logins", { stanzas = true }, "local");
		package.loaded["core.sessionmanager"] = nil;
		local sent = {};
		local function send(data)
			table.insert(sent, data);
			return #sent;
		end
		local session = { type = "c2s_unauthed", host = "a.example", send = send };
		local query = { get_child = function () return {}; end };
		it.fire("stanza/iq/jabber:iq:auth:query", { origin = session, stanza = { tags = { query } } });
		assert.equal(1, session.send(" "));
		local answer = { attr = { type = "error" }, tags = { { name = "error", tags = { { name = "bad-request" } } } } };
		assert.equal(2, session.send(answer));
		assert.same({ " ", answer }, sent);
		assert.equal(send, session.send);
		assert.same({ ["a.example malformed-request"] = 1 }, it.values "prosody_c2s_auth_attempts");
	end);
end);
