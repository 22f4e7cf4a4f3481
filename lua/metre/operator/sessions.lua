-- Sessions of users: how many there are, how many users they are of, and why they end.
--
-- On a session: metre_state is the state as which it is counted.

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

local function cause_of(session)
	if session.metre_closed then
		return causes[session.metre_closed] or "error";
	end
	return session.hibernating and "hibernation" or "connection";
end

return function (pack)
	local function has_users(_, host_session)
		return host_session.type == "local";
	end
	local sessions = pack:all_of_hosts("prosody_sessions", has_users);
	local online = pack:all_of_hosts("prosody_users_online", has_users);
	local opened = pack:all_of_hosts("prosody_sessions_opened", has_users);
	local closed = pack:all_of_hosts("prosody_sessions_closed", has_users);
	local resumptions = pack:all_of_hosts("prosody_smacks_resumptions", has_users);

	-- How many sessions each user has, by host.
	local users = {};
	pack:on_host("sessions", function (host)
		users[host] = {};
	end, function (host)
		users[host] = nil;
	end);

	-- Counts a session in another state; nil: not at all.
	local function move(host, session, state)
		local gauges, old = sessions[host], session.metre_state;
		if not gauges or old == state then
			return false;
		end
		if old then
			gauges[old]:add(-1);
		end
		if state then
			gauges[state]:add(1);
		end
		session.metre_state = state;
		return true;
	end

	pack:hook_hosts("sessions", "resource-bind", function (event, host)
		local session = event.session;
		if not move(host, session, "connected") then
			return;
		end
		opened[host]:add(1);
		local count = (users[host][session.username] or 0) + 1;
		users[host][session.username] = count;
		if count == 1 then
			online[host]:add(1);
		end
	end, first);

	pack:hook_hosts("sessions", "resource-unbind", function (event, host)
		local session = event.session;
		if not move(host, session, nil) then
			return;
		end
		closed[host][cause_of(session)]:add(1);
		local count = (users[host][session.username] or 0) - 1;
		users[host][session.username] = count > 0 and count or nil;
		if count == 0 then
			online[host]:add(-1);
		end
	end, first);

	pack:hook_hosts("sessions", "smacks-hibernation-start", function (event, host)
		if event.origin.metre_state then
			move(host, event.origin, "hibernating");
		end
	end, first);

	pack:hook_hosts("sessions", "smacks-hibernation-end", function (event, host)
		local session = event.resumed;
		if session and session.metre_state and resumptions[host] then
			move(host, session, "connected");
			session.metre_closed = nil;
			resumptions[host]:add(1);
		end
	end, first);

	-- Should a module have opened or closed sessions in ways of its own, this ends with the next reload.
	local function recount(host)
		local connected, hibernating, count = 0, 0, 0;
		users[host] = {};
		for username, user in pairs(pack.prosody.hosts[host].sessions) do
			local of_user = 0;
			for _, session in pairs(user.sessions) do
				if session.metre_state then
					session.metre_state = session.hibernating and "hibernating" or "connected";
					hibernating = hibernating + (session.hibernating and 1 or 0);
					of_user = of_user + 1;
				end
			end
			connected = connected + of_user;
			if of_user > 0 then
				users[host][username] = of_user;
				count = count + 1;
			end
		end
		sessions[host].connected:set(connected - hibernating);
		sessions[host].hibernating:set(hibernating);
		online[host]:set(count);
	end
	pack:hook("sessions", "config-reloaded", function ()
		for host in pairs(sessions) do
			recount(host);
		end
	end);
end;
