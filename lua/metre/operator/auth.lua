-- Logging in: how attempts end, how long they take, and how long it takes a client to have its session.
--
-- Most SASL failures fire no event, so what is sent to clients is looked at until they are logged in. An attempt that nobody
-- answers, as the client or the server's backend has gone, ends with its connection or when the next one begins.
--
-- On a session: metre_connected, metre_auth (when these began), metre_waits (it is the client's turn), metre_legacy (not by SASL).

local sasl = { ["urn:ietf:params:xml:ns:xmpp-sasl"] = true; ["urn:xmpp:sasl:2"] = true };

-- What mod_legacyauth answers, in the words of SASL.
local legacy_results = { ["bad-request"] = "malformed-request"; ["not-acceptable"] = "encryption-required" };

local clients = { c2s_unauthed = true; c2s_unbound = true; c2s = true };

-- Before modules that answer themselves, such as those that limit attempts.
local first = 10000;

-- The name of a failure's condition.
local function condition_of(failure)
	for _, child in ipairs(failure.tags) do
		if child.name ~= "text" then
			return child.name;
		end
	end
end

-- The condition of an error.
local function error_of(iq)
	for _, child in ipairs(iq.tags) do
		if child.name == "error" then
			return condition_of(child);
		end
	end
end

return function (pack)
	local filters, sessionmanager = require "util.filters", require "core.sessionmanager";
	local now = pack.now;

	local function has_users(_, host_session)
		return host_session.type == "local";
	end
	local attempts = pack:all_of_hosts("prosody_c2s_auth_attempts", has_users);
	local durations = pack:all_of_hosts("prosody_c2s_auth_duration_seconds", has_users);
	local login_duration = pack:metric("prosody_c2s_login_duration_seconds");

	local function ended(session, result)
		local began, counters = session.metre_auth, attempts[session.host];
		session.metre_auth, session.metre_waits, session.metre_legacy = nil, nil, nil;
		if counters then
			(counters[result] or counters.other):add(1);
			if began then
				durations[session.host]:sample(now() - began);
			end
		end
	end

	-- Nobody answers this attempt any more. How long a client took to give up says nothing of the server.
	local function left_open(session)
		if session.metre_waits then
			session.metre_auth = nil;
			ended(session, "aborted");
		else
			ended(session, "temporary-auth-failure");
		end
	end

	-- BEGIN of what is sent

	local look_at = {
		failure = function (stanza, session)
			if sasl[stanza.attr.xmlns] then
				ended(session, condition_of(stanza));
			end
		end;
		challenge = function (stanza, session)
			if sasl[stanza.attr.xmlns] then
				session.metre_waits = true;
			end
		end;
		iq = function (stanza, session)
			if session.metre_legacy and stanza.attr.type == "error" then
				local condition = error_of(stanza);
				ended(session, legacy_results[condition] or condition);
			end
		end;
	};
	local looked_at = pack:guard("logins", function (stanza, session)
		look_at[stanza.name](stanza, session);
	end);
	local function filter(stanza, session)
		if look_at[stanza.name] then
			looked_at(stanza, session);
		end
		return stanza;
	end

	filters.add_filter_hook(pack:guard("logins", function (session)
		if session.type == "c2s_unauthed" then
			session.metre_connected = now();
			filters.add_filter(session, "stanzas/out", filter);
		end
	end));

	-- Nothing is being sent to a client just now that has logged in just now.
	local function stop_looking(session)
		filters.remove_filter(session, "stanzas/out", filter);
	end

	-- END of what is sent

	local function begins(event)
		local session = event.origin;
		if session.type ~= "c2s_unauthed" then
			return;
		end
		if session.metre_auth then
			left_open(session);
		end
		session.metre_auth = now();
	end
	pack:hook_hosts("logins", "stanza/urn:ietf:params:xml:ns:xmpp-sasl:auth", begins, first);
	pack:hook_hosts("logins", "stanza/urn:xmpp:sasl:2:authenticate", begins, first);
	pack:hook_hosts("logins", "stanza/iq/jabber:iq:auth:query", function (event)
		local query = event.stanza.tags[1];
		-- Without these it is only asked what is needed.
		if query:get_child("username") and query:get_child("password") and query:get_child("resource") then
			begins(event);
			event.origin.metre_legacy = true;
		end
	end, first);

	local function answers(event)
		event.origin.metre_waits = nil;
	end
	pack:hook_hosts("logins", "stanza/urn:ietf:params:xml:ns:xmpp-sasl:response", answers, first);
	pack:hook_hosts("logins", "stanza/urn:xmpp:sasl:2:response", answers, first);

	pack:hook_hosts("logins", "authentication-success", function (event)
		local session = event.session;
		if session and clients[session.type] then
			ended(session, "success");
			stop_looking(session);
		end
	end, first);

	pack:hook_hosts("logins", "resource-bind", function (event)
		local session = event.session;
		if session.metre_legacy then
			ended(session, "success");
			stop_looking(session);
		end
		if session.metre_connected then
			login_duration:sample(now() - session.metre_connected);
			session.metre_connected = nil;
		end
	end, first);

	-- Modules take this function when they are loaded, which is later.
	local destroy_session = sessionmanager.destroy_session;
	local goes = pack:guard("logins", function (session)
		if session.metre_auth then
			left_open(session);
		end
	end);
	function sessionmanager.destroy_session(session, ...)
		goes(session);
		return destroy_session(session, ...);
	end
end;
