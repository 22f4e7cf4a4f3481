-- Stands for the community's module of this name on a Prosody that has none: sends a notification for each message to somebody
-- who is offline, tells of it by the same event, and waits for the answer.

local st = require "util.stanza";

local services = {};

module:hook("iq-set/self/urn:xmpp:push:0:enable", function (event)
	services[event.origin.username] = event.stanza.tags[1].attr.jid;
	event.origin.send(st.reply(event.stanza));
	return true;
end);

local sent = 0;
module:hook("message/offline/handle", function (event)
	sent = sent + 1;
	local notification = st.iq { to = services[event.username], from = module.host, type = "set", id = "push" .. sent }
		:tag("pubsub", { xmlns = "http://jabber.org/protocol/pubsub" }):up();
	local push = { notification_stanza = notification, original_stanza = event.stanza, username = event.username };
	if not module:fire_event("cloud_notify/push", push) then
		module:send_iq(notification):next(function () end, function () end);
	end
end, 1);
