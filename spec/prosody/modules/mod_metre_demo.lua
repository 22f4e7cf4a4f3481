-- What a module that counts stanzas looks like.

local stanzas = module:metric("counter", "stanzas", "", "Stanzas from clients", { "kind" });
local message_size = module:metric("histogram", "message_size", "bytes", "Size of messages from clients", {},
	{ buckets = { 200, 300, 500, 1000, 5000 } }):with_labels();

for _, kind in ipairs { "message", "presence", "iq" } do
	local counter = stanzas:with_labels(kind);
	local function count(event)
		counter:add(1);
		if kind == "message" then
			message_size:sample(#tostring(event.stanza));
		end
	end
	for _, to in ipairs { "bare", "full", "host" } do
		module:hook("pre-" .. kind .. "/" .. to, count, 1000);
	end
end
