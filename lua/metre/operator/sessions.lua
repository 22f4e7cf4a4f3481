-- Sessions of users: how many there are, how many users they are of, how long it takes to have one, and why they end.
--
-- On a session: metre_state is the state as which it is counted, metre_users the table in which its user is. That is another one
-- when the host has gone and come back, which a client that is slow to go may see.

-- Why a session ends whose stream was closed like this (see streams.lua); "error" for what is not here.
local causes = {
	["client"] = "client";
	["conflict"] = "replaced";
	["system-shutdown"] = "shutdown";
	-- An administrator or a module wanted it.
	["none"] = "server";
	["host-gone"] = "server";
	["not-authorized"] = "server";
	["reset"] = "server";
	["see-other-host"] = "server";
	["undefined-condition"] = "server";
};

-- Before modules that end the event.
local first = 10000;

return function (pack)
	-- mod_smacks drops the connections of its sessions then.
	local stopping = false;
	pack:hook("sessions", "server-stopping", function ()
		stopping = true;
	end, first);

	local function cause_of(session)
		if session.metre_closed then
			return causes[session.metre_closed] or "error";
		elseif stopping then
			return "shutdown";
		end
		return session.hibernating and "hibernation" or "connection";
	end

	local opened = pack:all_of_hosts("prosody_sessions_opened");
	local closed = pack:all_of_hosts("prosody_sessions_closed");
	local resumptions = pack:all_of_hosts("prosody_smacks_resumptions");
	local login_duration = pack:metric("prosody_c2s_login_duration_seconds");

	local sessions = pack:all_of_hosts("prosody_sessions");
	local online = pack:all_of_hosts("prosody_users_online");

	-- How many sessions each user has, by host; and what the gauges say, which begin at zero again if a rule takes idle ones away.
	local users, numbers = {}, {};
	pack:on_host("sessions", function (host, host_session)
		users[host] = host_session.type == "local" and {} or nil;
		numbers[host] = { connected = 0; hibernating = 0; online = 0 };
	end, function (host)
		users[host], numbers[host] = nil, nil;
	end);
	local function add(gauge, host, what, step)
		local of_host = numbers[host];
		of_host[what] = of_host[what] + step;
		gauge:set(of_host[what]);
	end

	-- Counts a session in another state; nil: not at all.
	local function move(host, session, state)
		local gauges, old = sessions[host], session.metre_state;
		if old == state then
			return;
		end
		if old then
			add(gauges[old], host, old, -1);
		end
		if state then
			add(gauges[state], host, state, 1);
		end
		session.metre_state = state;
	end

	pack:hook_hosts("sessions", "resource-bind", function (event, host)
		local session, of_host = event.session, users[host];
		local username = session.username;
		if not of_host or not username or session.metre_users then
			return;
		end
		session.metre_users = of_host;
		move(host, session, "connected");
		opened[host]:add(1);
		local count = (of_host[username] or 0) + 1;
		of_host[username] = count;
		if count == 1 then
			add(online[host], host, "online", 1);
		end
		local connected = session.metre_connected or session.conn and session.conn.metre_connected;
		if connected then
			login_duration:sample(pack.now() - connected);
		end
	end, first);

	pack:hook_hosts("sessions", "resource-unbind", function (event, host)
		local session, of_host = event.session, users[host];
		if not of_host or session.metre_users ~= of_host then
			return;
		end
		closed[host][cause_of(session)]:add(1);
		move(host, session, nil);
		session.metre_users = nil;
		local count = of_host[session.username] - 1;
		of_host[session.username] = count > 0 and count or nil;
		if count == 0 then
			add(online[host], host, "online", -1);
		end
	end, first);

	pack:hook_hosts("sessions", "smacks-hibernation-start", function (event, host)
		local session, of_host = event.origin, users[host];
		if of_host and session.metre_users == of_host then
			move(host, session, "hibernating");
		end
	end, first);

	pack:hook_hosts("sessions", "smacks-hibernation-end", function (event, host)
		local session, of_host = event.resumed, users[host];
		if of_host and session and session.metre_users == of_host then
			move(host, session, "connected");
			session.metre_closed = nil;
			resumptions[host]:add(1);
		end
	end, first);
end;
