-- Messages that are kept: for users who are offline, and in archives.

local filters = require "util.filters";

local sid = "urn:xmpp:sid:0";

-- Before all others; between mod_muc_mam (0) and Prosody's history of rooms (-1), after which nobody is asked.
local first, after_archive = 1000, -0.5;

local function offline(pack)
	local outcomes = pack:all_of_modules("prosody_offline_messages", { offline = true, mam = true });

	-- Whoever keeps a message says so to the one who asks, and to nobody else.
	local count_handled = pack:guard("messages", function (host, is_kept)
		local outcome = outcomes[host];
		if outcome then
			outcome[is_kept and "stored" or "refused"]:add(1);
		end
	end);
	local function handled(host, ...)
		count_handled(host, (...));
		return ...;
	end

	-- What mod_offline sends to a session while it delivers: nothing else has this server's own note of a delay. Whoever has sent the
	-- message may have put another one before it.
	local count_delivered = pack:guard("messages", function (stanza, session)
		local outcome = outcomes[session.host];
		if outcome and stanza:get_child_with_attr("delay", "urn:xmpp:delay", "from", session.host) then
			outcome.delivered:add(1);
		end
	end);
	local function filter(stanza, session)
		if type(stanza) == "table" and stanza.name == "message" then
			count_delivered(stanza, session);
		end
		return stanza;
	end
	local begin = pack:guard("messages", function (host, session)
		if outcomes[host] and session and session.filters then
			filters.add_filter(session, "stanzas/out", filter, first);
		end
	end);
	local finish = pack:guard("messages", function (session)
		if session then
			filters.remove_filter(session, "stanzas/out", filter);
		end
	end);
	local function delivered(session, ...)
		finish(session);
		return ...;
	end

	pack:on_host("messages", function (host, session)
		session.events.add_wrapper("message/offline/handle", function (handlers, name, event)
			return handled(host, handlers(name, event));
		end);
		session.events.add_wrapper("message/offline/broadcast", function (handlers, name, event)
			begin(host, event.origin);
			return delivered(event.origin, handlers(name, event));
		end);
	end);
end

local function archives(pack)
	local users = pack:all_of_modules("prosody_archive_messages", { mam = true }, "user");
	pack:on_host("messages", function (host, session)
		-- For each message twice. Nothing in it can raise, so it needs no protection, which would be most of its cost.
		session.events.add_handler("archive-message-added", function ()
			local user = users[host];
			if user then
				user:add(1);
			end
		end, first);
	end);

	-- mod_muc_mam tells by what it adds to the message.
	local rooms = pack:all_of_modules("prosody_archive_messages", { muc_mam = true }, "room");
	pack:hook_hosts("messages", "muc-add-history", function (event, host)
		local stanza = event.stanza;
		if rooms[host] and stanza.name == "message" and stanza:get_child_with_attr("stanza-id", sid, "by", event.room.jid) then
			rooms[host]:add(1);
		end
	end, after_archive);
end

return function (pack)
	offline(pack);
	archives(pack);
end;
