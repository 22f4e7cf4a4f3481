-- Why a connection with another server ended, by what Prosody says of it.
--
-- Prosody gives a reason to the event s2s-destroyed: nothing, a text of its own, a text of the system or of OpenSSL, the stream error
-- that the other server has sent as "condition" or "condition (text)", or an object of util.error.

-- Plain strings that are looked for in order, in lower case.
local function find(list, text)
	for _, entry in ipairs(list) do
		if text:find(entry[1], 1, true) then
			return entry[2];
		end
	end
end

-- What Prosody, the system and the TLS library say.
local texts = {
	{ "server's certificate", "certificate" };
	{ "failed to verify certificate", "certificate" };
	{ "certificate verify failed", "certificate" };
	{ "alert unknown ca", "rejected" };
	{ "alert bad certificate", "rejected" };
	{ "alert certificate", "rejected" };
	{ "alert no certificate", "rejected" };
	{ "alert unsupported certificate", "rejected" };
	{ "authentication", "authentication" };
	{ "timeout during handshake", "timeout" };
	{ "timeout", "timeout" };
	{ "timed out", "timeout" };
	{ "negotiation", "tls" };
	{ "ssl", "tls" };
	{ "tls", "tls" };
	{ "handshake", "tls" };
	{ "protocol", "tls" };
	{ "wrong version number", "tls" };
	{ "http request", "tls" };
	{ "cipher", "tls" };
	{ "key too small", "tls" };
	{ "md too weak", "tls" };
	{ "renegotiation", "tls" };
	{ "unexpected eof", "tls" };
	{ "bad record mac", "tls" };
	{ "bad signature", "tls" };
	{ "packet length too long", "tls" };
	{ " lookup", "dns" };
	{ "unable to resolve", "dns" };
	{ "failed idna", "dns" };
	{ "srv records", "dns" };
	{ "service explicitly unavailable", "dns" };
	{ "nameserver", "dns" };
	{ "dns", "dns" };
	{ "canceled", "dns" };
	{ "connection refused", "refused" };
	{ "reset by peer", "connection" };
	{ "broken pipe", "connection" };
	{ "no route to host", "connection" };
	{ "unreachable", "connection" };
	{ "host is down", "connection" };
	{ "permission denied", "connection" };
	{ "not permitted", "connection" };
	{ "requested address", "connection" };
	{ "address already in use", "connection" };
	{ "too many open files", "connection" };
	{ "file table overflow", "connection" };
	{ "fd_setsize", "connection" };
	{ "invalid argument", "connection" };
	{ "no buffer space", "connection" };
	{ "receive buffer exceeded", "connection" };
	{ "connection aborted", "connection" };
	{ "unknown reason", "connection" };
	{ "fatal error", "connection" };
	{ "communication", "policy" };
	{ "a host we serve", "policy" };
	{ "too big", "policy" };
	{ "restricted", "policy" };
	{ "blocked", "policy" };
	{ "invalid 'to'", "stream" };
	{ "invalid 'from'", "stream" };
	{ "new stream '", "stream" };
	{ "stream features", "stream" };
	{ "stream id", "stream" };
	{ "invalid xml", "stream" };
	{ "invalid 'h'", "stream" };
	{ "acknowledged more", "stream" };
};

-- Conditions of stream errors, whoever has sent them. The others are "stream".
local conditions = {
	["connection-timeout"] = "timeout";
	["not-authorized"] = "authentication";
	["invalid-from"] = "authentication";
	["invalid-id"] = "authentication";
	-- The other server could not ask ours whether a dialback key is right.
	["remote-connection-failed"] = "authentication";
	["policy-violation"] = "policy";
	["resource-constraint"] = "policy";
	["host-unknown"] = "stream";
	["host-gone"] = "stream";
	["bad-format"] = "stream";
	["bad-namespace-prefix"] = "stream";
	["conflict"] = "stream";
	["improper-addressing"] = "stream";
	["internal-server-error"] = "stream";
	["invalid-namespace"] = "stream";
	["invalid-xml"] = "stream";
	["nonmatching-hosts"] = "stream";
	["not-well-formed"] = "stream";
	["reset"] = "stream";
	["restricted-xml"] = "stream";
	["see-other-host"] = "stream";
	["system-shutdown"] = "stream";
	["undefined-condition"] = "stream";
	["unsupported-encoding"] = "stream";
	["unsupported-feature"] = "stream";
	["unsupported-stanza-type"] = "stream";
	["unsupported-version"] = "stream";
	["xml-not-well-formed"] = "stream";
};

-- With these a stream ends that has done its work: it was idle, or a server goes.
local regular = {
	["connection-timeout"] = true;
	["host-gone"] = true;
	["reset"] = true;
	["see-other-host"] = true;
	["system-shutdown"] = true;
};

-- What event loops and OpenSSL say of connections that the other side has closed.
local ends = { closed = true, ["unexpected eof while reading"] = true };

-- Failures of SASL EXTERNAL that say: not with this certificate.
local refusals = {
	["account-disabled"] = true;
	["credentials-expired"] = true;
	["invalid-authzid"] = true;
	["not-authorized"] = true;
};

-- So much is looked at of what another server says, which may be as long as a stanza.
local most = 1000;

-- The cause of what another server has said: it speaks of certificates only if ours is not good enough.
local function of_condition(condition, text)
	if text and (text:lower():find("certificate", 1, true) or text:lower():find("self-signed", 1, true)) then
		return "rejected";
	end
	return conditions[condition];
end

-- The cause if SASL EXTERNAL has failed on an outgoing connection, by what the other server has said then.
local function of_external(session)
	local failure = session.external_auth == "failed" and session.external_auth_failure_reason;
	if failure then
		return refusals[failure.condition] and "rejected" or "authentication";
	end
end

-- The cause why a session ended, as one of the values of prosody_s2s_failures, or nil if that was no failure. The second result is a
-- text that nobody has seen yet.
local function classify(session, reason)
	local is_established = session.type == "s2sout" or session.type == "s2sin";
	if type(reason) == "table" then
		local condition, text = tostring(reason.condition), reason.text and tostring(reason.text):sub(1, most);
		local cause = of_external(session) or of_condition(condition, text) or text and find(texts, text:lower());
		return cause or "other", not cause and condition .. " (" .. (text or "") .. ")" or nil;
	end
	reason = reason and tostring(reason);
	if not reason or ends[reason] then
		-- Somebody has connected and gone without a word; a connection of ours has had no use before it was complete.
		return session.type == "s2sout_unauthed" and (of_external(session) or "connection") or nil;
	end

	local condition, text = reason:match("^(%l[%l-]*) %((.*)%)$");
	condition, text, reason = condition or reason, text and text:sub(1, most), reason:sub(1, most);
	local cause = of_condition(condition, text);
	if is_established and regular[condition] then
		return nil;
	elseif reason:find("^This server has stopped serving") then
		return nil;
	elseif not cause then
		cause = find(texts, reason:lower());
		-- A connection that was encrypted broke.
		if is_established and cause == "tls" then
			cause = "connection";
		end
	end
	return cause or "other", not cause and reason or nil;
end

-- A stranger's text for the log: short, in one line, without addresses.
local function cleaned(text)
	return (text:sub(1, 200):gsub("%S*@%S*", "..."):gsub("[^\32-\126]", "?"):sub(1, 100));
end

return {
	classify = classify;
	cleaned = cleaned;
};
