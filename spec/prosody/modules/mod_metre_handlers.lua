-- Handlers and filters of stanzas that do what a message tells them, and say so.

local async = require "util.async";
local filters = require "util.filters";
local st = require "util.stanza";

local function say(...)
	module:log("info", "handlers: " .. ("%s "):rep(select("#", ...)), ...);
end

local function body_of(stanza)
	return type(stanza) == "table" and stanza.name == "message" and stanza:get_child_text("body") or nil;
end

local waiting = {};

module:hook("message/host", function (event)
	local body = body_of(event.stanza);
	say("handler", body);
	if body == "wait" then
		local wait, done = async.waiter();
		table.insert(waiting, done);
		wait();
		say("waited");
	elseif body == "go" then
		table.remove(waiting, 1)();
	elseif body == "raise" then
		error("as it was told");
	end
	event.origin.send(st.reply(event.stanza):text_tag("body", body));
	return true;
end);

local function filter_of(direction, priority)
	local name = direction .. " " .. priority;
	return function (stanza)
		local body = body_of(stanza);
		if not body then
			return stanza;
		end
		say("filter", name, body);
		if body == "drop " .. name then
			return nil;
		elseif body == "refuse " .. name then
			return false;
		elseif body == "turn " .. name then
			return st.presence { to = stanza.attr.to, from = stanza.attr.from };
		end
		return stanza;
	end
end

local by_direction = { ["in"] = {}, out = {} };
for direction, of_direction in pairs(by_direction) do
	for _, priority in ipairs { 1000000, 10, -10, -1000000 } do
		of_direction[priority] = filter_of(direction, priority);
	end
end

-- From the lowest on, and still they run from the highest.
filters.add_filter_hook(function (session)
	for direction, of_direction in pairs(by_direction) do
		for priority, filter in pairs(of_direction) do
			filters.add_filter(session, "stanzas/" .. direction, filter, priority);
		end
	end
end);
