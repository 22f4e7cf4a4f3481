-- Ports that Prosody itself listens on.

-- Prosody's services that have ports unless told otherwise (0.12 and 13 alike), with the module that brings them. A private
-- one listens on this machine only.
local services = {
	c2s = { port = 5222, always = true };
	s2s = { port = 5269, always = true };
	http = { port = 5280, private = true, modules = { "http", "bosh", "websocket", "invites_page", "invites_register_web" } };
	https = { port = 5281, modules = { "http", "bosh", "websocket", "invites_page", "invites_register_web" } };
	component = { port = 5347, private = true, modules = { "component" } };
	proxy65 = { port = 5000, modules = { "proxy65" } };
	console = { port = 5582, private = true, modules = { "admin_telnet" } };
};

local function as_list(value)
	return type(value) == "table" and value or { value };
end

-- All modules that the configuration names, without those that it has switched off.
local function modules_of(given)
	local named = {};
	for _, options in pairs(given.hosts) do
		for _, name in ipairs(as_list(rawget(options, "modules_enabled"))) do
			named[name] = true;
		end
		local component = rawget(options, "component_module");
		if component then
			named[component] = true;
		end
	end
	local disabled = {};
	for _, name in ipairs(as_list(rawget(given.options, "modules_disabled"))) do
		disabled[name], named[name] = true, nil;
	end
	return named, disabled;
end

local function is_used(name, service, named, disabled)
	if service.always then
		return not disabled[name];
	end
	for _, module_name in ipairs(service.modules) do
		if named[module_name] then
			return true;
		end
	end
	for module_name in pairs(named) do
		-- They bring the server with them: http_file_share, http_openmetrics, …
		if service.modules[1] == "http" and type(module_name) == "string" and module_name:match("^http_") then
			return true;
		end
	end
	return false;
end

-- The interfaces of a service, as Prosody chooses them.
local function interfaces_of(name, service, options)
	return as_list(options[name .. "_interfaces"] or options[name .. "_interface"]
		or service.private and (options.local_interfaces or { "127.0.0.1", "::1" })
		or options.interfaces or options.interface or { "*", "::" });
end

-- Whether two sockets with one port get in each other's way: `::` is for IPv6 alone here and there.
local function overlap(ours, theirs)
	local is_ipv6 = function (address) return tostring(address):find(":", 1, true) ~= nil; end
	local is_any = function (address) return address == "*" or address == "0.0.0.0" or address == "::"; end
	return is_ipv6(ours) == is_ipv6(theirs) and (ours == theirs or is_any(ours) or is_any(theirs));
end

-- Prosody's sockets: the option that decides on each, whether it is set, port and interface.
local function ports_of(given)
	local options, found = given.options, {};
	local named, disabled = modules_of(given);
	local names = {};
	for name in pairs(services) do
		names[name] = true;
	end
	for key in pairs(options) do
		local name = type(key) == "string" and key:match("^(.+)_ports$");
		if name then
			names[name] = true;
		end
	end
	for name in pairs(names) do
		local service, set = services[name] or {}, options[name .. "_ports"];
		if set ~= nil or service.port and is_used(name, service, named, disabled) then
			for _, port in ipairs(as_list(set == nil and service.port or set)) do
				for _, interface in ipairs(interfaces_of(name, service, options)) do
					table.insert(found, { option = name .. "_ports", is_set = set ~= nil, port = tonumber(port), interface = interface });
				end
			end
		end
	end
	return found;
end

-- Adds to the problems of a configuration the ports that both Prosody and the exporter want: whoever comes second has none.
return function (given, listens)
	local told, sockets = {}, ports_of(given);
	for _, listen in ipairs(listens) do
		local address, port = listen:match("^%[?([^%]]*)%]?:(%d+)$");
		for _, theirs in ipairs(address and sockets or {}) do
			local key = listen .. " " .. theirs.option;
			if theirs.port == tonumber(port) and overlap(address, theirs.interface) and not told[key] then
				told[key] = true;
				table.insert(given.problems, ("'exporter.listen' has %s, where Prosody itself listens ('%s'%s); "
					.. "give one of them another port"):format(listen, theirs.option, theirs.is_set and "" or ", by default"));
			end
		end
	end
end
