-- Accounts that somebody wanted to register: by a client, with or without an invitation.

-- After all who may refuse it.
local last = -1000;

return function (pack)
	local name = "prosody_user_registrations";
	local metrics = pack:all_of_modules(name, { invites_register = true; register_ibr = true });
	pack:hook_hosts("registrations", "user-registering", function (event, host)
		local of_host = metrics[host];
		if not of_host then -- by a module that isn't known
			of_host = pack:all(name, host);
			metrics[host] = of_host;
		end
		of_host[event.allowed and "true" or "false"]:add(1);
	end, last);
end;
