-- Accounts in a backend that does what the user's name says: "slow" takes a while, "wrong" is refused, "absent" can't be looked
-- up, "broken" raises, "asked" has to answer a challenge, "hang" gets no answer before the event metre-release. Also SASL EXTERNAL.
-- The mechanism LIMITED is answered as modules do that limit attempts, without an event, in SASL and in its second version.

local async = require "util.async";
local st = require "util.stanza";
local timer = require "util.timer";

local released = {};

local function pause(user)
	local wait, done = async.waiter();
	if user == "hang" then
		released[#released + 1] = done;
	else
		timer.add_task(0.2, done);
	end
	wait();
end

local handler = {};
handler.__index = handler;

local function new()
	return setmetatable({}, handler);
end

handler.clean_clone = new;

function handler.mechanisms()
	return { PLAIN = true, EXTERNAL = true };
end

function handler:select(mechanism)
	self.selected = self.mechanisms()[mechanism] and mechanism;
	return self.selected;
end

function handler:process(message)
	if self.selected == "EXTERNAL" then
		self.username = message;
		return "success";
	end
	if self.asked then
		return assert(message ~= "broken" and "success", "the backend is broken");
	end
	self.username = message:match("^%z?(%w+)") or message:match("%z(%w+)");
	if self.username == "broken" then
		error("the backend is broken");
	elseif self.username == "wrong" then
		return "failure", "not-authorized", "Wrong";
	elseif self.username == "asked" then
		self.asked = true;
		return "challenge", "What else?";
	end
	pause(self.username);
	if self.username == "absent" then
		return "failure", "temporary-auth-failure", "No backend";
	end
	return "success";
end

module:provides("auth", {
	get_sasl_handler = new;
	test_password = function () return true; end;
	user_exists = function () return true; end;
	users = function () return next, {}; end;
});

local function limit(event)
	local stanza = event.stanza;
	if stanza.attr.mechanism ~= "LIMITED" then
		return;
	end
	event.origin.send(st.stanza("failure", { xmlns = stanza.attr.xmlns })
		:tag("temporary-auth-failure", { xmlns = "urn:ietf:params:xml:ns:xmpp-sasl" }));
	return true;
end
module:hook("stanza/urn:ietf:params:xml:ns:xmpp-sasl:auth", limit, 10);
module:hook("stanza/urn:xmpp:sasl:2:authenticate", limit, 10);

module:hook_global("metre-release", function ()
	for _, done in ipairs(released) do
		done();
	end
	released = {};
end);
