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
end;
