-- Counts and measures every stanza of every client, coming and going, as modules that measure traffic do together.

local filters = require "util.filters";

module:set_global();

local stanzas = module:metric("counter", "stanzas", "", "Stanzas of clients", { "direction", "kind", "type" });
local sizes = module:measure("body", "sizes");
local children = module:measure("children", "distribution");
local handling = module:measure("handling", "times");
local rates = {};
for _, kind in ipairs { "message", "presence", "iq" } do
	rates[kind] = module:measure(kind, "rate");
end

local function measuring(direction)
	return function (stanza)
		local kind = stanza.name;
		local rate = rates[kind];
		if rate then
			local handled = handling();
			rate();
			-- Looked up each time, since the type is what a client says.
			stanzas:with_labels(direction, kind, stanza.attr.type or ""):add(1);
			children(#stanza.tags);
			local body = kind == "message" and stanza:get_child_text("body");
			if body then
				sizes(#body);
			end
			handled();
		end
		return stanza;
	end;
end

local received, sent = measuring("received"), measuring("sent");

local function watch(session)
	if session.type:match("^c2s") then
		filters.add_filter(session, "stanzas/in", received);
		filters.add_filter(session, "stanzas/out", sent);
	end
end

function module.load()
	filters.add_filter_hook(watch);
end

function module.unload()
	filters.remove_filter_hook(watch);
end
