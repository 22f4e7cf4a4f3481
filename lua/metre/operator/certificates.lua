-- When certificates end: those that Prosody has loaded, which clients and servers see, and what is in their files by now.
--
-- A certificate is loaded when Prosody makes a context for TLS, as it starts and after each reload; then its file is read here, too.
-- Later the file is read again whenever it has changed. Keys are never read.

local lfs = require "lfs";
local log = require "metre.log";

local family = "prosody_certificate_not_after_timestamp_seconds";
-- Of a file, whose first certificate is the one that counts.
local most_bytes = 65536;

local months = {
	Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12,
};

-- Seconds since 1970 of a time as OpenSSL writes it, such as "Nov  1 09:30:00 2026 GMT".
local function timestamp(text)
	local month, day, hour, minute, second, year = text:match("^(%a+) +(%d+) (%d+):(%d+):(%d+) (%d+)");
	month = assert(months[month], "no time");
	-- Years that begin in March have their leap day at the end.
	year = tonumber(year) - (month < 3 and 1 or 0);
	month = (month + 9) % 12;
	local days = year * 365 + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
		+ math.floor((month * 153 + 2) / 5) + tonumber(day) - 1 - 719468;
	return ((days * 24 + tonumber(hour)) * 60 + tonumber(minute)) * 60 + tonumber(second);
end

-- When the certificate in a file ends, or nil and why that is not known.
local function read(path)
	local file, err = io.open(path);
	if not file then
		return nil, err;
	end
	local pem = file:read(most_bytes);
	file:close();
	local certificate = pem and require "ssl".loadcertificate(pem);
	if not certificate then
		return nil, "no certificate";
	end
	local known, time = pcall(timestamp, certificate:notafter());
	return known and time or nil, "no time in it";
end

-- What changes when a file does; nil if it isn't there.
local function state_of(path)
	local attributes = lfs.attributes(path);
	if attributes and attributes.mode == "file" then
		return ("%s %s %s %s"):format(attributes.modification, attributes.change, attributes.size, attributes.ino);
	end
end

-- What mod_tls has a certificate for on each host: clients, servers, or both.
local is_xmpp = { c2s = true, s2s = true, xmpp = true };

-- Whether clients and servers are shown the same one.
local function has_one_for_all(services)
	local c2s, s2s = services.c2s, services.s2s;
	return c2s and s2s and c2s.path == s2s.path and c2s.not_after == s2s.not_after;
end

return function (pack)
	if not pack.options.certificates then
		return;
	end
	local certmanager, configmanager = require "core.certmanager", require "core.configmanager";
	local portmanager = require "core.portmanager";

	-- What is loaded, { path, not_after }, by host ("" for ports) and service.
	local loaded = { [""] = {} };
	-- What was loaded for ports, by context, and what is the latest for each service.
	local of_context, latest = setmetatable({}, { __mode = "k" }), {};
	-- Which series there is room for, by host and what else they are called.
	local has_room_for = { [""] = {} };
	-- What is in the files that are loaded, { state, not_after }, by path.
	local files = {};
	-- Hosts whose series are no longer right.
	local changed = {};
	pack:on_host("certificates", function (host)
		loaded[host], has_room_for[host] = {}, {};
	end, function (host)
		loaded[host], has_room_for[host], changed[host] = nil, nil, nil;
	end);

	local function drop(host, service)
		if loaded[host] and loaded[host][service] then
			loaded[host][service] = nil;
			changed[host] = true;
		end
	end
	pack:hook_hosts("certificates", "module-unloaded", function (event, host)
		if event.module == "tls" then
			drop(host, "c2s");
			drop(host, "s2s");
		end
	end);
	pack:hook("certificates", "service-removed", function (event)
		if not portmanager.get_active_services():get(event.name) then
			for host in pairs(loaded) do
				if not is_xmpp[event.name] then
					drop(host, event.name);
				end
			end
		end
	end);

	-- The service with whose port Prosody shares this configuration.
	local function service_of(tls_config)
		for name, _, _, _, active in portmanager.get_active_services():iter(nil, nil, nil, nil) do
			if active.tls_cfg == tls_config then
				return name;
			end
		end
	end

	-- The host of ours that has another name for this service.
	local function host_of(name, service)
		for host in pairs(loaded) do
			local other = host ~= "" and (configmanager.get(host, service .. "_host") or configmanager.get(host, "http_host"));
			if other == name then
				return host;
			end
		end
	end

	-- Which host and which service of it a context is for, by the arguments of create_context.
	local function purpose(host, count, last)
		local port_service = host:match("^(%S+) port %d+$");
		if port_service then
			return "", port_service;
		end
		local service = type(last) == "table" and last.mode and service_of(last);
		if service then
			-- The port's certificate is another one for those who name this host.
			return loaded[host] and host or host_of(host, service), service;
		end
		-- mod_tls says more about servers than about clients.
		return loaded[host] and host, count > 3 and "s2s" or "c2s";
	end

	local note = pack:guard("certificates", function (mode, host, count, last, context, _, config)
		local name, service;
		if mode == "server" then
			name, service = purpose(host, count, last);
		end
		if not name then
			return;
		end
		local path = context and config and config.certificate;
		local certificate = path and { path = path; not_after = read(path) };
		if name == "" then
			if certificate then
				of_context[context], latest[service] = certificate, certificate;
			end
		elseif certificate or is_xmpp[service] then
			loaded[name][service] = certificate or nil;
			changed[name] = true;
		end
		if path then
			files[path] = nil;
		end
	end);

	local function noted(mode, host, count, last, ...)
		note(mode, host, count, last, ...);
		return ...;
	end
	local original = certmanager.create_context;
	function certmanager.create_context(host, mode, ...)
		local count = select("#", ...);
		return noted(mode, host, count, count > 0 and select(count, ...) or nil, original(host, mode, ...));
	end

	-- Ports use the context with which they were opened: Prosody makes another one at a reload, and doesn't use it.
	local function look_at_ports()
		local before, now = loaded[""], {};
		for service, _, _, _, active in portmanager.get_active_services():iter(nil, nil, nil, nil) do
			if active.tls_cfg then
				local context = active.server.tls_ctx;
				now[service] = context and of_context[context] or before[service] or latest[service];
				changed[""] = changed[""] or now[service] ~= before[service] or nil;
			end
		end
		for service in pairs(before) do
			changed[""] = changed[""] or not now[service] or nil;
		end
		loaded[""] = now;
	end

	-- Reads a file if it is new or has changed. Returns whether it has.
	local function look_at(path)
		local state = state_of(path);
		local file = files[path];
		if file and file.state == state then
			return false;
		end
		local not_after, err = nil, "it is not there";
		if state then
			not_after, err = read(path);
		end
		files[path] = { state = state; not_after = not_after };
		if not not_after then
			log("warn", "The certificate file %s, which Prosody has loaded, can't be read any more: %s", path, err);
		end
		return true;
	end

	local function look_at_files()
		local seen = {};
		for host, services in pairs(loaded) do
			for _, certificate in pairs(services) do
				local path = certificate.path;
				if seen[path] == nil then
					seen[path] = look_at(path);
				end
				if seen[path] then
					changed[host] = true;
				end
			end
		end
		for path in pairs(files) do
			if seen[path] == nil then
				files[path] = nil;
			end
		end
	end

	local function show(host, service, certificate)
		for state, not_after in pairs { loaded = certificate.not_after; file = files[certificate.path].not_after } do
			local known, key = has_room_for[host], service .. " " .. state;
			if known[key] == nil then
				known[key] = host == "" or is_xmpp[service] or pack:has_room(family);
				if known[key] then
					pack:reserve(family, 1, host);
				end
			end
			if known[key] then
				pack:family(family):with_labels(host, service, state):set(not_after);
			end
		end
	end

	local function show_host(host)
		pack:forget(family, host);
		local services, of_ports = loaded[host], loaded[""];
		local c2s, one = services.c2s or {}, has_one_for_all(services);
		for service, certificate in pairs(services) do
			if host == "" or is_xmpp[service] and not one then
				show(host, service, certificate);
			elseif service == "c2s" then
				show(host, "xmpp", certificate);
			elseif certificate.path ~= c2s.path and certificate.path ~= (of_ports[service] or {}).path then
				show(host, service, certificate);
			end
		end
	end

	pack:on_collection("certificates", function ()
		look_at_ports();
		look_at_files();
		for host in pairs(changed) do
			changed[host] = nil;
			show_host(host);
		end
	end);
end;
