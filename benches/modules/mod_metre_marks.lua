-- Lets a client say where a part of a measurement begins and ends, and have statistics collected.

local clock = require "util.time".monotonic;
local st = require "util.stanza";
local statsmanager = require "core.statsmanager";

-- Begins a part and ends the one before, of which it tells how many bytes were allocated. valgrind reads its counter wherever
-- lua_warning is called, which nobody else does. What the collector does before a part belongs to none; with collector='off' it
-- does nothing in the part itself.
local begun = 0;
module:hook("iq-get/host/urn:metre:marks:mark", function (event)
	warn("@end");
	local bytes = (collectgarbage("count") - begun) * 1024;
	collectgarbage("restart");
	event.origin.send(st.reply(event.stanza):text_tag("bytes", ("%d"):format(bytes)));
	collectgarbage();
	collectgarbage();
	if event.stanza.tags[1].attr.collector == "off" then
		collectgarbage("stop");
	end
	begun = collectgarbage("count");
	warn("@begin");
	return true;
end);

-- Tells how many seconds each of so many collections has taken.
module:hook("iq-get/host/urn:metre:marks:collect", function (event)
	local seconds = {};
	for i = 1, tonumber(event.stanza.tags[1].attr.times) do
		local before = clock();
		statsmanager.collect();
		seconds[i] = ("%.9f"):format(clock() - before);
	end
	event.origin.send(st.reply(event.stanza):text_tag("seconds", table.concat(seconds, " ")));
	return true;
end);
