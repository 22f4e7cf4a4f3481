-- Accounts that somebody wanted to register: by a client, with or without an invitation.

-- After all who may refuse it.
local last = -1000;

return function (pack)
	local name = "prosody_user_registrations";
	local metrics = pack:all_of_modules(name, { invites_register = true; register_ibr = true });
	pack:hook_hosts("registrations", "user-registering", function (event, host)
		if not metrics[host] and pack:host_label(host) == host then -- by a module that isn't known
			metrics[host] = pack:all(name, host);
		end
		if metrics[host] then
			metrics[host][event.allowed and "true" or "false"]:add(1);
		end
	end, last);
end;
