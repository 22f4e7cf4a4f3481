-- Causes of failed connections with other servers: real texts of Prosody, the system, OpenSSL and other servers.

local causes = require "metre.operator.causes";

local negotiation = "Error during negotiation of encrypted connection: ";

-- What happens while an outgoing connection is being made: nothing has been received yet.
local connecting = {
	["unable to resolve service"] = "dns";
	["hostname failed IDNA"] = "dns";
	["zero SRV records found"] = "dns";
	["service explicitly unavailable"] = "dns";
	["NXDOMAIN in A lookup"] = "dns";
	["SERVFAIL in AAAA lookup"] = "dns";
	["NoError in AAAA lookup"] = "dns";
	["Validation error in SRV lookup"] = "dns";
	["IPv4 disabled - A lookup skipped"] = "dns";
	["connection refused"] = "refused";
	["Connection refused"] = "refused";
	["connection timeout"] = "timeout";
	["timeout"] = "timeout";
	["Connection timed out"] = "timeout";
	["No route to host"] = "connection";
	["Network is unreachable"] = "connection";
	["Network unreachable"] = "connection";
	["Connection reset by peer"] = "connection";
	["Permission denied"] = "connection";
	["Cannot assign requested address"] = "connection";
	["Too many open files"] = "connection";
	["unknown reason"] = "connection";
	["closed"] = "connection";
	["wrong version number"] = "tls";
	["certificate verify failed"] = "certificate";
	["sslv3 alert handshake failure"] = "tls";
	["tlsv1 alert unknown ca"] = "rejected";
};

-- What happens on a connection, in one direction or the other, before it is complete.
local incomplete = {
	[negotiation .. "closed"] = "tls";
	[negotiation .. "wrong version number"] = "tls";
	[negotiation .. "unexpected eof while reading"] = "tls";
	[negotiation .. "no shared cipher"] = "tls";
	[negotiation .. "unsupported protocol"] = "tls";
	[negotiation .. "tlsv1 alert protocol version"] = "tls";
	[negotiation .. "tlsv1 alert internal error"] = "tls";
	[negotiation .. "Connection reset by peer"] = "tls";
	[negotiation .. "timeout during handshake"] = "timeout";
	[negotiation .. "certificate verify failed"] = "certificate";
	[negotiation .. "tlsv1 alert unknown ca"] = "rejected";
	[negotiation .. "sslv3 alert bad certificate"] = "rejected";
	[negotiation .. "sslv3 alert certificate expired"] = "rejected";
	[negotiation .. "ssl/tls alert certificate unknown"] = "rejected";
	["tlsv13 alert certificate required"] = "rejected";
	["TLS negotiation failed"] = "tls";
	-- Ours, as theirs is not good enough.
	["Your server's certificate has expired"] = "certificate";
	["Your server's certificate is self-signed"] = "certificate";
	["Your server's certificate is not trusted"] = "certificate";
	["Your server's certificate is not valid for this name"] = "certificate";
	["Your server's certificate has an expired certificate chain"] = "certificate";
	["Your server's certificate could not be validated"] = "certificate";
	["Failed to verify certificate (internal error)"] = "certificate";
	-- Theirs, as ours is not good enough.
	["not-authorized (Your server's certificate has expired)"] = "rejected";
	["not-authorized (Your server's certificate is self-signed)"] = "rejected";
	["not-authorized (Peer certificate rejected)"] = "rejected";
	["policy-violation (Your server's certificate is invalid, expired, or not trusted by shakespeare.example)"] = "rejected";
	["policy-violation (Self-signed certificates are not allowed)"] = "rejected";
	["undefined-condition (invalid certificate)"] = "rejected";
	["not-authorized"] = "authentication";
	["dialback authentication failed"] = "authentication";
	["No viable authentication method offered"] = "authentication";
	["invalid-id"] = "authentication";
	["remote-connection-failed"] = "authentication";
	["invalid-from (You can't speak for them)"] = "authentication";
	["Encrypted server-to-server communication is required but was not offered"] = "policy";
	["Encrypted server-to-server communication is required but was not used"] = "policy";
	["policy-violation (Use of STARTTLS required)"] = "policy";
	["policy-violation"] = "policy";
	["Server-to-server communication is disabled for this host"] = "policy";
	["policy-violation (Server-to-server communication is disabled for this host)"] = "policy";
	["Attempt to connect from a host we serve"] = "policy";
	["Attempt to authenticate as a host we serve"] = "policy";
	["XML stanza is too big"] = "policy";
	["resource-constraint (Too many connections)"] = "policy";
	["host-unknown"] = "stream";
	["host-unknown (This host does not serve example.org)"] = "stream";
	["host-gone"] = "stream";
	["system-shutdown (Received SIGTERM)"] = "stream";
	["improper-addressing"] = "stream";
	["not-well-formed"] = "stream";
	["internal-server-error"] = "stream";
	["undefined-condition (No stream features to proceed with)"] = "stream";
	["No stream features to offer"] = "stream";
	["Missing stream ID"] = "stream";
	["Invalid 'from' address"] = "stream";
	["New stream 'to' attribute does not match original"] = "stream";
	["unsupported-version"] = "stream";
	["connection-timeout"] = "timeout";
	["connection-timeout (Idle connection)"] = "timeout";
	["read timeout"] = "timeout";
};

-- What ends a connection that was complete; false: no failure.
local complete = {
	["closed"] = false;
	["unexpected eof while reading"] = false;
	["connection-timeout"] = false;
	["connection-timeout (Idle connection)"] = false;
	["system-shutdown"] = false;
	["system-shutdown (Received SIGTERM)"] = false;
	["see-other-host"] = false;
	["reset"] = false;
	["host-gone"] = false;
	["host-gone (This server has stopped serving example.org)"] = false;
	["This server has stopped serving example.org"] = false;
	["write timeout"] = "timeout";
	["send timeout"] = "timeout";
	["Connection reset by peer"] = "connection";
	["decryption failed or bad record mac"] = "connection";
	["tlsv1 alert unknown ca"] = "rejected";
	["No route to host"] = "connection";
	["Broken pipe"] = "connection";
	["not-authorized"] = "authentication";
	["host-unknown"] = "stream";
	["not-well-formed"] = "stream";
	["unsupported-stanza-type"] = "stream";
	["conflict (Replaced by new connection)"] = "stream";
	["policy-violation (Stanza too large)"] = "policy";
	["Missing or invalid 'h' attribute"] = "stream";
	["Client acknowledged more stanzas than sent by server"] = "stream";
};

local function check(kinds, table)
	for text, expected in pairs(table) do
		for _, kind in ipairs(kinds) do
			local cause, unseen = causes.classify({ type = kind }, text);
			assert.equal(expected or nil, cause, kind .. ": " .. text);
			assert.is_nil(unseen);
		end
	end
end

describe("causes of failures with other servers", function ()
	it("are known while connecting", function ()
		check({ "s2sout_unauthed" }, connecting);
	end);

	it("are known before a connection is complete", function ()
		check({ "s2sout_unauthed", "s2sin_unauthed" }, incomplete);
	end);

	it("are known on a connection that was complete, if it was a failure at all", function ()
		check({ "s2sout", "s2sin" }, complete);
	end);

	it("are a connection's if it ends without a word before it had any use", function ()
		for _, reason in ipairs { false, "closed", "unexpected eof while reading" } do
			assert.equal("connection", (causes.classify({ type = "s2sout_unauthed" }, reason)));
			for _, kind in ipairs { "s2sout", "s2sin", "s2sin_unauthed" } do
				assert.is_nil((causes.classify({ type = kind }, reason)));
			end
		end
		assert.equal("connection", (causes.classify({ type = "s2sout_unauthed" }, nil)));
		assert.is_nil((causes.classify({ type = "s2sout" }, nil)));
	end);

	it("are found in errors that are objects", function ()
		local function of_sasl(condition, text)
			local reason = { condition = condition; text = text };
			local session = { type = "s2sout_unauthed"; external_auth = "failed"; external_auth_failure_reason = reason };
			local cause = causes.classify(session, reason);
			-- Dialback was tried next, and the other server had had enough.
			assert.equal(cause, (causes.classify(session, "unexpected eof while reading")));
			return cause;
		end
		assert.equal("rejected", of_sasl "not-authorized");
		assert.equal("rejected", of_sasl("not-authorized", "Peer certificate rejected"));
		assert.equal("authentication", of_sasl "temporary-auth-failure");
		assert.equal("authentication", of_sasl "unknown-condition");

		local function of_error(condition, text)
			return causes.classify({ type = "s2sout_unauthed" }, { condition = condition; text = text });
		end
		assert.equal("rejected", (of_error("not-authorized", "Your certificate has expired")));
		assert.equal("policy", (of_error "policy-violation"));
		assert.equal("dns", (of_error("remote-server-not-found", "unable to resolve service")));
		assert.same({ "other", "moonphase (full)" }, { of_error("moonphase", "full") });
	end);

	it("are other, with the text, if nobody has seen it yet", function ()
		assert.same({ "other", "quite unheard of" }, { causes.classify({ type = "s2sout_unauthed" }, "quite unheard of") });
		assert.same({ "other", "weird-condition (x)" }, { causes.classify({ type = "s2sin" }, "weird-condition (x)") });
	end);

	it("are looked for at the beginning of what may be as long as a stanza", function ()
		local long = ("s"):rep(500000) .. " certificate";
		for _, reason in ipairs { "moonphase (" .. long .. ")", long, { condition = "moonphase", text = long } } do
			local cause, unseen = causes.classify({ type = "s2sin_unauthed" }, reason);
			assert.equal("other", cause);
			assert.truthy(#unseen < 1100);
		end
		assert.equal("policy", (causes.classify({ type = "s2sin" }, "policy-violation (" .. long .. ")")));
		assert.equal("rejected", (causes.classify({ type = "s2sin" }, "moonphase (no certificate" .. long .. ")")));
	end);

	it("are logged without addresses and control characters, and cut", function ()
		assert.equal("from ... ? or so", causes.cleaned("from juliet@example.org/balcony \n or so"));
		assert.equal(100, #causes.cleaned(("x"):rep(1000)));
	end);
end);
