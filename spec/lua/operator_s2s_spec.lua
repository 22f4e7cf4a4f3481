-- Connections with other servers as Prosody's events tell of them, and what is counted then.

local events = require "util.events";

-- A Prosody with these hosts that has the events and nothing else, and what is measured in it.
local function server(remotes, ...)
	local prosody = { hosts = {}, events = events.new() };
	local stats = assert(require "metre".new { self_metrics = false, process_metrics = false });
	local faults = {};
	local pack = require "metre.operator.pack".new(prosody, {
		operator = { remotes = remotes };
		fault = function (what) table.insert(faults, what); end;
	}, stats);
	require "metre.operator.s2s"(pack);
	local self = { prosody = prosody, pack = pack, stats = stats };
	for _, host in ipairs { ... } do
		local session = { host = host, type = "local", events = events.new(), modules = { s2s = {} } };
		prosody.hosts[host] = session;
		pack:add_host(host);
		session.events.fire_event("module-loaded", { module = "s2s", host = host });
	end
	-- All of this family that isn't zero, as { ["label label"] = value }.
	function self.values(name)
		pack:collect();
		assert.same({}, faults);
		local found = {};
		local family = stats.metric_registry:get_metric_families()["prosody_s2s_" .. name];
		for values, metric in (family and family:iter_metrics() or function () end) do
			for suffix, _, value in metric:iter_samples() do
				if value ~= 0 and (suffix == "" or suffix == "_total" or suffix == "_count") then
					found[table.concat(values, " ")] = value;
				end
			end
		end
		return found;
	end
	function self.out(remote, queue, from)
		local session = {
			direction = "outgoing"; type = "s2sout_unauthed"; from_host = from or "a.example"; to_host = remote; sendq = queue;
			bounced = 0;
		};
		function session.bounce_sendq(this, reason)
			this.bounced, this.sendq = reason or true, nil;
			return "result";
		end
		prosody.hosts[session.from_host].events.fire_event("s2sout-created", { session = session });
		return session;
	end
	function self.established(session)
		session.type = "s2sout";
		prosody.events.fire_event("s2sout-established", { session = session });
	end
	-- As Prosody does it.
	function self.destroyed(session, reason)
		if session.direction == "outgoing" then
			session:bounce_sendq(reason);
		end
		prosody.events.fire_event("s2s-destroyed", { session = session; reason = reason });
	end
	function self.fails(remote, times)
		for _ = 1, times or 1 do
			self.destroyed(self.out(remote), "connection refused");
		end
	end
	return self;
end

local function stanza(name, kind, xmlns)
	return { name = name, attr = { type = kind, xmlns = xmlns } };
end

describe("connections with other servers", function ()
	it("are failures of the host and the direction in which they failed", function ()
		local s = server(10, "a.example", "b.example");
		assert.same({}, s.values "failures");
		s.fails("x.example");
		s.destroyed(s.out("x.example", nil, "b.example"), nil);
		s.destroyed({ direction = "incoming"; type = "s2sin_unauthed"; from_host = "x.example"; to_host = "a.example" },
			"Your server's certificate has expired");
		s.destroyed({ direction = "incoming"; type = "s2sin"; from_host = "x.example"; to_host = "a.example" },
			"policy-violation (too much)");
		-- Of nobody here.
		for _, host in ipairs { "x.example", false } do
			s.destroyed({ direction = "incoming"; type = "s2sin_unauthed"; to_host = host or nil }, "host-unknown");
		end
		assert.same({
			["a.example out refused"] = 1; ["b.example out connection"] = 1; ["a.example in certificate"] = 1; ["a.example in policy"] = 1;
		}, s.values "failures");
	end);

	it("are measured from the beginning, on hosts that have them", function ()
		local s = server(10, "a.example");
		s.prosody.hosts["quiet.example"] = { host = "quiet.example", type = "local", events = events.new(), modules = {} };
		s.pack:add_host("quiet.example");
		s.values "failures";
		local page = s.stats.metric_registry:render();
		assert.truthy(page:find('prosody_s2s_failures_total{host="a.example",direction="out",cause="dns"} 0', 1, true));
		assert.is_nil(page:find("quiet.example", 1, true));
	end);

	it("are no failures if they end in order, or as this server does", function ()
		local s = server(10, "a.example");
		local out = s.out("x.example");
		s.established(out);
		s.destroyed(out, false);
		s.destroyed({ direction = "incoming"; type = "s2sin"; to_host = "a.example" }, "connection-timeout");
		s.destroyed({ direction = "incoming"; type = "s2sin_unauthed"; to_host = "a.example" }, nil);
		s.prosody.events.fire_event("server-stopping", {});
		s.fails("x.example");
		assert.same({}, s.values "failures");
		assert.same({ [""] = 1 }, s.values "connect_duration_seconds");
		assert.same({}, s.values "remote_failing");
	end);

	it("fail if the other side acknowledges nothing any more", function ()
		local s = server(10, "a.example");
		local out = s.out("x.example");
		s.established(out);
		s.prosody.hosts["a.example"].events.fire_event("smacks-ack-delayed", { origin = out });
		s.destroyed(out, "connection-timeout");
		assert.same({ ["a.example out timeout"] = 1 }, s.values "failures");
		-- That was no attempt to connect.
		assert.same({}, s.values "remote_failing");
	end);

	it("return what waited for them", function ()
		local s = server(10, "a.example");
		local message, result = stanza "message", stanza("iq", "result");
		-- Prosody 0.12 has the text and an answer.
		local out = s.out("x.example", { { "…", message }, { "…", stanza("iq", "result") }, { "…", false }, { "…", stanza "db:verify" } });
		s.destroyed(out, "connection refused");
		assert.equal("connection refused", out.bounced);
		assert.same({ ["a.example"] = 2 }, s.values "bounced_stanzas");
		-- Later ones have the stanzas.
		local waiting = { message, result, stanza("presence", "error"), stanza("iq", "get"), stanza("message", nil, "jabber:x") };
		out = s.out("y.example", { items = function () return ipairs(waiting); end });
		assert.equal("result", out:bounce_sendq("why"));
		assert.same({ ["a.example"] = 4 }, s.values "bounced_stanzas");
		s.destroyed(s.out("z.example"), "connection refused");
		assert.same({ ["a.example"] = 4 }, s.values "bounced_stanzas");
	end);

	it("bear hosts that have gone", function ()
		local s = server(10, "a.example");
		local out = s.out("x.example", { { "…", stanza "message" } });
		s.pack:remove_host("a.example");
		s.prosody.hosts["a.example"] = nil;
		s.destroyed(out, "connection refused");
		assert.same({}, s.values "failures");
		assert.same({}, s.values "bounced_stanzas");
	end);
end);

describe("other servers that fail", function ()
	it("are named, the worst of them, until they answer", function ()
		local s = server(2, "a.example");
		s.fails("one.example", 1);
		s.fails("two.example", 2);
		s.fails("three.example", 3);
		assert.same({ ["two.example refused"] = 2; ["three.example refused"] = 3 }, s.values "remote_failing");
		assert.same({ [""] = 3 }, s.values "remotes_failing");
		-- The cause is that of the last failure.
		s.destroyed(s.out("three.example"), "unable to resolve service");
		assert.same({ ["two.example refused"] = 2; ["three.example dns"] = 4 }, s.values "remote_failing");
		s.established(s.out("three.example"));
		assert.same({ ["one.example refused"] = 1; ["two.example refused"] = 2 }, s.values "remote_failing");
		assert.same({ [""] = 2 }, s.values "remotes_failing");
	end);

	it("have answered if they connect and take stanzas back", function ()
		local s = server(2, "a.example");
		s.fails("one.example", 1);
		local session = { direction = "incoming"; type = "s2sin"; from_host = "one.example"; to_host = "a.example" };
		s.prosody.events.fire_event("s2sin-established", { session = session });
		assert.same({ ["one.example refused"] = 1 }, s.values "remote_failing");
		session.outgoing = true;
		s.prosody.events.fire_event("s2sin-established", { session = session });
		assert.same({}, s.values "remote_failing");
	end);

	it("are not named if nobody wants that", function ()
		local s = server(0, "a.example");
		s.fails("one.example");
		assert.same({}, s.values "remote_failing");
		assert.same({ [""] = 1 }, s.values "remotes_failing");
	end);

	it("are not more than 500, the last ones, whoever makes names up", function ()
		local s = server(1000, "a.example");
		for i = 1, 600 do
			s.fails("n" .. i .. ".example");
		end
		assert.same({ [""] = 500 }, s.values "remotes_failing");
		local named = s.values "remote_failing";
		assert.equal(1, named["n101.example refused"]);
		assert.is_nil(named["n100.example refused"]);
	end);

	it("have names of domains or addresses, not too long", function ()
		local s = server(10, "a.example");
		local bad = { "", "two words", "quoted\"", "a/b", "line\n", ("x"):rep(254) };
		for _, names in ipairs { bad, { "ok.example", "bücher.example", "[::1]", "127.0.0.1" } } do
			for _, name in ipairs(names) do
				s.fails(name);
			end
		end
		assert.same({ ["ok.example refused"] = 1; ["bücher.example refused"] = 1; ["[::1] refused"] = 1; ["127.0.0.1 refused"] = 1 },
			s.values "remote_failing");
		assert.same({ ["a.example out refused"] = 10 }, s.values "failures");
	end);
end);
