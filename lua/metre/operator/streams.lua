-- Streams of clients that Prosody closes, and TLS that can't be agreed on with them.
--
-- On a session: metre_closed says how it was closed first, for sessions.lua: "client", "none" or the condition of an error.
-- On a connection: metre_connected is since when it is one of a client, metre_session is the session for which TLS began on it.

-- Before modules that end the event.
local first = 10000;

-- Services that share mod_c2s' listener.
local services = { c2s = true; c2s_direct_tls = true; legacy_ssl = true };

-- What OpenSSL, LuaSec and the event loop say, in this order; the names of alerts differ by OpenSSL's version.
local tls_causes = {
	{ "unknown ca", "certificate" };
	{ "certificate", "certificate" };
	{ "unsupported protocol", "protocol" };
	{ "protocol version", "protocol" };
	{ "version too low", "protocol" };
	{ "inappropriate fallback", "protocol" };
	{ "no shared ", "cipher" };
	{ "no suitable ", "cipher" };
	{ "handshake failure", "cipher" };
	{ "insufficient security", "cipher" };
	{ "wrong version number", "not-tls" };
	{ "http request", "not-tls" };
	{ "https proxy request", "not-tls" };
	{ "packet length too long", "not-tls" };
	{ "eof", "closed" };
	{ "closed", "closed" };
	{ "reset by peer", "closed" };
	{ "broken pipe", "closed" };
	{ "timeout", "closed" };
	{ "timed out", "closed" };
};

local function tls_cause(err)
	local text = err and tostring(err):lower() or "closed";
	for _, cause in ipairs(tls_causes) do
		if text:find(cause[1], 1, true) then
			return cause[2];
		end
	end
	return "other";
end

-- The condition of what a stream is closed with: a name, a table with one, or an error of a stream.
local function condition_of(reason)
	if type(reason) ~= "table" then
		return reason;
	end
	local child = type(reason.tags) == "table" and reason.tags[1];
	return child and child.name or reason.condition or "undefined-condition";
end

return function (pack)
	local now = pack.now;

	-- BEGIN of streams

	-- Of names that aren't ours, too.
	local counters = { [""] = pack:all("prosody_c2s_streams_closed", "") };
	pack:on_host("streams", function (host, host_session)
		if host_session.type == "local" then
			counters[host] = pack:all("prosody_c2s_streams_closed", host);
		end
	end, function (host)
		counters[host] = nil;
	end);

	local closed = pack:guard("streams", function (session, reason)
		local condition, of_host = condition_of(reason), counters[session.host] or counters[""];
		(of_host[condition] or of_host.other):add(1);
		session.metre_closed = session.metre_closed or condition;
	end);
	-- Without an error nothing can fail here, and nothing is protected: each session passes here.
	local function on_close(event)
		local session = event.session;
		if event.reason then
			closed(session, event.reason);
		else
			session.metre_closed = session.metre_closed or event.reason == false and "client" or "none";
		end
	end
	pack:on_host("streams", function (_, host_session)
		host_session.events.add_handler("pre-session-close", on_close, first);
	end);
	-- For clients that named no host of ours.
	pack.prosody.events.add_handler("pre-session-close", on_close, first);

	-- mod_bosh fires no event when it closes a session, and doesn't pass on that the client wanted it.
	local function close_bosh(session, reason, ...)
		if reason then
			closed(session, reason);
		else
			session.metre_closed = session.metre_closed or session.bosh_terminate and "client" or "none";
		end
		local close = session.metre_close;
		if close then
			return close(session, reason, ...);
		end
	end
	pack:hook("streams", "bosh-session", function (event)
		local session = event.session;
		session.metre_close, session.close = session.close, close_bosh;
		session.metre_connected = now();
	end);

	-- END of streams

	-- BEGIN of TLS

	local failures = pack:all("prosody_c2s_tls_failures");

	pack:hook_hosts("streams", "stanza/urn:ietf:params:xml:ns:xmpp-tls:starttls", function (event)
		local session = event.origin;
		if session.type == "c2s_unauthed" and session.conn then
			session.conn.metre_session = session;
		end
	end, first);

	local look = pack:guard("streams", function (conn, err)
		local session = conn.metre_session;
		if session and session.secure == false -- no stream came after TLS had begun
			or not session and conn:ssl() then -- the connection begins with TLS
			failures[tls_cause(err)]:add(1);
		end
	end);

	local function wrap(listener)
		local onconnect, ondisconnect = listener.onconnect, listener.ondisconnect;
		function listener.onconnect(conn, ...)
			conn.metre_connected = now();
			return onconnect(conn, ...);
		end
		function listener.ondisconnect(conn, ...)
			if conn.metre_session or not conn.metre_connected then
				look(conn, (...));
			end
			return ondisconnect(conn, ...);
		end
	end
	-- Before it is listened for them, and again after each reload of mod_c2s. The services share a listener.
	local wrapped = setmetatable({}, { __mode = "k" });
	pack:hook("streams", "item-added/net-provider", function (event)
		local listener = services[event.item.name] and event.item.listener;
		if listener and not wrapped[listener] then
			wrapped[listener] = true;
			wrap(listener);
		end
	end, first);

	-- END of TLS
end;
