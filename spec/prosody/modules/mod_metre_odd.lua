-- luacheck: globals module prosody
-- Calls what all stanzas pass with sessions and stanzas as modules make them that aren't Prosody's, and says what comes of it.

local filters = require "util.filters";
local it = require "util.iterators";
local sessionmanager = require "core.sessionmanager";
local st = require "util.stanza";

local process = prosody.core_process_stanza;

local function plain(value)
	return (tostring(value):gsub("^[^\n]-%.lua:%d+: ", ""):gsub("0x%x+", "0x"):gsub("\n.*", ""));
end

local function try(what, f, ...)
	module:log("info", "odd: %s: %s %s", what, plain((select(1, pcall(f, ...)))), plain((select(2, pcall(f, ...)))));
end

local function error_stanza(kind)
	return st.stanza(kind, { type = "error" }):tag("error", { type = "cancel" });
end

-- What filters may make of a stanza, and what somebody may send.
local function results()
	return {
		["true"] = true; ["false"] = false; number = 5; text = "text"; empty = {}; nameless = { attr = {}, tags = {} };
		odd_name = { name = 5 }; only_name = { name = "message" }; another = st.presence(); error = error_stanza("iq");
		untagged_error = st.message { type = "error" }; without_tags = { name = "iq", attr = { type = "error" } };
		failure = st.stanza("failure"); bare_failure = { name = "failure" }; challenge = { name = "challenge" };
		["function"] = function () end;
	};
end
local types = { none = false; number = 5; unknown = "tweet"; c2s = "c2s"; s2sout = "s2sout"; unauthed = "c2s_unauthed" };

local function session_of_type(type)
	local written = {};
	local session = sessionmanager.new_session {
		ip = function () return "127.0.0.1"; end;
		write = function (_, data)
			table.insert(written, plain(data));
			return true;
		end;
	};
	session.type = type or nil;
	return session, written;
end

local function send_through_filters()
	for type_name, type in it.sorted_pairs(types) do
		for name, result in it.sorted_pairs(results()) do
			local session, written = session_of_type(type);
			filters.add_filter(session, "stanzas/out", function () return result; end, 5);
			try("filter " .. type_name .. " " .. name, function ()
				local sent = session.send(st.message { to = module.host });
				return tostring(sent) .. " " .. table.concat(written, " ");
			end);
		end
	end
end

local function process_odd()
	for type_name, type in it.sorted_pairs(types) do
		for name, stanza in it.sorted_pairs(results()) do
			local session = { type = type or nil; send = function () end; log = function () end; full_jid = "a@" .. module.host .. "/b" };
			try("process " .. type_name .. " " .. name, process, session, stanza);
		end
		local dummy = { type = type or nil; dummy = true; send = function () end };
		try("dummy " .. type_name, process, dummy, st.message { to = module.host });
	end
	try("no session", process, nil, st.message());
	try("no stanza", process, { type = "c2s" });
	try("host as session", module.send, module, st.message { to = module.host, from = module.host });
end

-- Events that modules fire with less than Prosody puts into them.
local function fire_odd()
	local origins = { plain = {}; c2s = { type = "c2s" }; unbound = { type = "c2s_unbound", host = module.host } };
	for name, origin in it.sorted_pairs(origins) do
		try("bind " .. name, module.fire_event, module, "resource-bind", { session = origin });
		try("unbind " .. name, module.fire_event, module, "resource-unbind", { session = origin });
		try("close " .. name, module.fire_event, module, "pre-session-close", { session = origin, reason = { tags = { "text" } } });
		try("hibernate " .. name, module.fire_event, module, "smacks-hibernation-start", { origin = origin });
		try("success " .. name, module.fire_event, module, "authentication-success", { session = origin });
		try("broadcast " .. name, module.fire_event, module, "message/offline/broadcast", { origin = origin });
	end
	try("archived", module.fire_event, module, "archive-message-added");
	try("broadcast", module.fire_event, module, "message/offline/broadcast", {});
	try("authenticated", module.fire_event, module, "authentication-success", {});
	try("registering", module.fire_event, module, "user-registering", {});
end

module:hook_global("metre-odd", function ()
	send_through_filters();
	process_odd();
	fire_odd();
	module:log("info", "odd: done");
end);
