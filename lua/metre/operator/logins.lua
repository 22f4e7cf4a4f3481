-- Logging in: how attempts end, and how long they take.
--
-- Most SASL failures fire no event, so what clients are sent is looked at. An attempt that nobody answers, as the client or
-- the server's backend has gone, ends with its connection or when the next one begins.
--
-- On a session: metre_auth is when an attempt began, metre_waits whether it was the client's turn then.

local sasl = { ["urn:ietf:params:xml:ns:xmpp-sasl"] = true; ["urn:xmpp:sasl:2"] = true };

-- What mod_legacyauth answers, in the words of SASL.
local legacy_results = { ["bad-request"] = "malformed-request"; ["not-acceptable"] = "encryption-required" };

local clients = { c2s_unauthed = true; c2s_unbound = true; c2s = true };

-- Before modules that answer themselves, such as those that limit attempts.
local first = 10000;

-- The name of a failure's condition, or of an error's.
local function condition_of(failure)
	for _, child in ipairs(failure.tags) do
		if child.name == "error" then
			return condition_of(child);
		elseif child.name ~= "text" then
			return child.name;
		end
	end
end

return function (pack)
	local sessionmanager = require "core.sessionmanager";
	local now = pack.now;

	local attempts = pack:all_of_hosts("prosody_c2s_auth_attempts");
	local durations = pack:all_of_hosts("prosody_c2s_auth_duration_seconds");

	local function ended(session, result)
		local began, counters = session.metre_auth, attempts[session.host];
		session.metre_auth, session.metre_waits = nil, nil;
		if counters then
			(counters[result] or counters.other):add(1);
			if began then
				durations[session.host]:sample(now() - began);
			end
		end
	end

	-- Nobody answers this attempt any more. How long a client took to give up says nothing of the server.
	local left_open = pack:guard("logins", function (session)
		if session.metre_waits then
			session.metre_auth = nil;
			ended(session, "aborted");
		else
			ended(session, "temporary-auth-failure");
		end
	end);

	-- BEGIN of what can't fail, and is not protected for that reason: each login passes here

	local function begins(event)
		local session = event.origin;
		if session.type == "c2s_unauthed" then
			if session.metre_auth then
				left_open(session);
			end
			session.metre_auth = now();
		end
	end
	local function answers(event)
		event.origin.metre_waits = nil;
	end
	pack:on_host("logins", function (_, host_session)
		local add_handler = host_session.events.add_handler;
		add_handler("stanza/urn:ietf:params:xml:ns:xmpp-sasl:auth", begins, first);
		add_handler("stanza/urn:ietf:params:xml:ns:xmpp-sasl:response", answers, first);
		add_handler("stanza/urn:xmpp:sasl:2:authenticate", begins, first);
		add_handler("stanza/urn:xmpp:sasl:2:response", answers, first);
	end);

	function pack.watched.challenge(_, session)
		if session.metre_auth then
			session.metre_waits = true;
		end
	end

	-- Modules take this function when they are loaded, which is later.
	local destroy_session = sessionmanager.destroy_session;
	function sessionmanager.destroy_session(session, ...)
		if session.metre_auth then
			left_open(session);
		end
		return destroy_session(session, ...);
	end

	-- END of what can't fail

	pack.watched.failure = pack:guard("logins", function (stanza, session)
		if session.type == "c2s_unauthed" and stanza.attr and sasl[stanza.attr.xmlns] then
			ended(session, condition_of(stanza));
		end
	end);

	pack:hook_hosts("logins", "authentication-success", function (event)
		local session = event.session;
		if session and clients[session.type] then
			ended(session, "success");
		end
	end, first);

	-- From before SASL: the next stanza that is sent is the answer.
	local answered = pack:guard("logins", function (session, answer)
		if answer.attr.type == "result" then
			ended(session, "success");
		else
			local condition = condition_of(answer);
			ended(session, legacy_results[condition] or condition);
		end
	end);
	pack:hook_hosts("logins", "stanza/iq/jabber:iq:auth:query", function (event)
		local session, query = event.origin, event.stanza.tags[1];
		-- Without these it is only asked what is needed.
		if query:get_child("username") and query:get_child("password") and query:get_child("resource") then
			begins(event);
			local send = session.send;
			function session.send(answer, ...)
				if type(answer) == "table" then
					session.send = send;
					answered(session, answer);
				end
				return send(answer, ...);
			end
		end
	end, first);
end;
