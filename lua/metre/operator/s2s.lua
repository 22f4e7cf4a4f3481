-- Connections with other servers: how long they take to make, which fail and why, and what is returned to senders then.
--
-- Only the global event s2s-destroyed has them all: neither Prosody's counters nor its other events see a connection that fails at DNS
-- or TCP.

local causes = require "metre.operator.causes";
local log = require "metre.log";
local new_remotes = require "metre.operator.remotes";

-- Causes that are to be expected in each direction. These series are always there, others come when they are needed.
local expected = {
	["in"] = { "certificate", "connection", "rejected", "stream", "timeout", "tls" };
	out = {
		"authentication", "certificate", "connection", "dns", "policy", "refused", "rejected", "stream", "timeout", "tls",
	};
};

local bounced_kinds = { message = true, presence = true, iq = true };

-- Whether a stanza that waits, or Prosody 0.12's answer to one, leads to an error for its sender.
local function is_bounced(stanza)
	local attr = stanza.attr;
	return bounced_kinds[stanza.name] and not attr.xmlns and attr.type ~= "error";
end

-- How many of the stanzas that wait for a connection will be returned.
local function count_bounced(queue)
	local count = 0;
	if type(queue.items) == "function" then
		for _, stanza in queue:items() do
			if is_bounced(stanza) and stanza.attr.type ~= "result" then
				count = count + 1;
			end
		end
	else
		for _, waiting in ipairs(queue) do
			if waiting[2] and is_bounced(waiting[2]) then
				count = count + 1;
			end
		end
	end
	return count;
end

return function (pack)
	local failures_by_host = {};
	-- Hosts that talk with other servers.
	local bounced_by_host = pack:all_of_modules("prosody_s2s_bounced_stanzas", { s2s = true });
	pack:on_host("s2s", nil, function (host)
		failures_by_host[host] = nil;
	end);

	-- What fails on a host, which is there from its beginning on.
	local function failures_of(host)
		local failures = failures_by_host[host];
		if not failures then
			failures = {};
			for direction, names in pairs(expected) do
				failures[direction] = {};
				for _, cause in ipairs(names) do
					failures[direction][cause] = pack:metric("prosody_s2s_failures", host, direction, cause);
				end
			end
			failures_by_host[host] = failures;
		end
		return failures;
	end
	pack:on_collection("s2s", function ()
		for host in pairs(bounced_by_host) do
			failures_of(host);
		end
	end);

	local remotes = new_remotes(pack);
	local connect_duration = pack:metric("prosody_s2s_connect_duration_seconds");
	-- When outgoing sessions began.
	local began = setmetatable({}, { __mode = "k" });

	local count_bounces = pack:guard("s2s", function (session)
		local bounced = session.sendq and bounced_by_host[session.from_host];
		if bounced then
			bounced:add(count_bounced(session.sendq));
		end
	end);
	pack:hook_hosts("s2s", "s2sout-created", function (event)
		local session = event.session;
		began[session] = pack.now();
		local original = session.bounce_sendq;
		if original then
			function session.bounce_sendq(...)
				count_bounces(session);
				return original(...);
			end
		end
	end);

	pack:hook("s2s", "s2sout-established", function (event)
		local session = event.session;
		if began[session] then
			connect_duration:sample(pack.now() - began[session]);
			began[session] = nil;
		end
		remotes.has_answered(session.to_host);
	end);

	-- With mod_s2s_bidi an incoming connection carries stanzas the other way, too.
	pack:hook("s2s", "s2sin-established", function (event)
		if event.session.outgoing then
			remotes.has_answered(event.session.from_host);
		end
	end);

	-- Sessions that Prosody 13 ends as the other server doesn't acknowledge what it gets. What it says then is what others say whose
	-- stream was idle.
	local silent = setmetatable({}, { __mode = "k" });
	pack:hook_hosts("s2s", "smacks-ack-delayed", function (event)
		silent[event.origin] = true;
	end);

	local is_stopping = false;
	pack:hook("s2s", "server-stopping", function ()
		is_stopping = true;
	end, 1000);

	pack:hook("s2s", "s2s-destroyed", function (event)
		local session, reason = event.session, event.reason;
		local is_out = session.direction == "outgoing";
		local host = is_out and session.from_host or session.to_host;
		-- Strangers who want none of our hosts are no failure of these.
		if is_stopping or not host or not bounced_by_host[host] then
			return;
		end
		local cause, unseen = causes.classify(session, reason);
		if not cause and silent[session] and reason == "connection-timeout" then
			cause = "timeout";
		elseif not cause then
			return;
		elseif unseen then
			log("debug", "A connection with another server has failed for a cause that is not known: %s", causes.cleaned(unseen));
		end

		local direction = is_out and "out" or "in";
		local of_direction = failures_of(host)[direction];
		if not of_direction[cause] then
			of_direction[cause] = pack:metric("prosody_s2s_failures", host, direction, cause);
		end
		of_direction[cause]:add(1);
		if session.type == "s2sout_unauthed" then
			remotes.has_failed(session.to_host, cause);
		end
	end);
end;
