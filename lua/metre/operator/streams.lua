-- Streams of clients that Prosody closes, and TLS that can't be agreed on with them.
--
-- On a session: metre_closed says how it was closed first, for sessions.lua: "client", "none" or the condition of an error.
-- On a connection: metre_session is its session.

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

-- The condition of what a stream is closed with: a name, a table with one, an error of a stream; nil without an error.
local function condition_of(reason)
	if type(reason) ~= "table" then
		return reason;
	end
	local child = type(reason.tags) == "table" and reason.tags[1];
	return child and child.name or reason.condition or "undefined-condition";
end

return function (pack)
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
		local condition = condition_of(reason);
		if condition then
			local of_host = counters[session.host] or counters[""];
			(of_host[condition] or of_host.other):add(1);
		end
		session.metre_closed = session.metre_closed or condition or reason == false and "client" or "none";
	end);
	local function on_close(event)
		closed(event.session, event.reason);
	end
	pack:hook_hosts("streams", "pre-session-close", on_close, first);
	-- For clients that named no host of ours.
	pack:hook("streams", "pre-session-close", on_close, first);

	-- mod_bosh fires no event when it closes a session, and doesn't pass on that the client wanted it.
	local function close_bosh(session, reason, ...)
		if reason == nil and session.bosh_terminate then
			closed(session, false);
		else
			closed(session, reason);
		end
		local close = session.metre_close;
		if close then
			return close(session, reason, ...);
		end
	end
	pack:hook("streams", "bosh-session", function (event)
		local session = event.session;
		session.metre_close, session.close = session.close, close_bosh;
	end);

	-- END of streams

	-- BEGIN of TLS

	local failures = pack:all("prosody_c2s_tls_failures");

	require "util.filters".add_filter_hook(pack:guard("streams", function (session)
		if session.type == "c2s_unauthed" and session.conn and not session.sid then
			session.conn.metre_session = session;
		end
	end));

	local look = pack:guard("streams", function (conn, err)
		local session = conn.metre_session;
		if not session and conn:ssl() -- the connection begins with a handshake
			or session and session.secure == false then -- <starttls/> came, and no stream after it
			failures[tls_cause(err)]:add(1);
		end
	end);

	-- The event loop looks for the function each time, or with each connection. It is another one after a reload of mod_c2s.
	local ours = setmetatable({}, { __mode = "k" });
	pack:hook("streams", "service-added", function (event)
		local listener = services[event.name] and event.service.listener;
		local original = listener and listener.ondisconnect;
		if not original or ours[original] then
			return;
		end
		local function ondisconnect(conn, err, ...)
			look(conn, err);
			return original(conn, err, ...);
		end
		ours[ondisconnect] = true;
		listener.ondisconnect = ondisconnect;
	end);

	-- END of TLS
end;
