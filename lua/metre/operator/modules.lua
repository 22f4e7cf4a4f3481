-- Modules by what they say of themselves, on each host and on all ("*"), and whether external components are connected.

-- What Prosody calls what is on no host.
local global = "*";

-- Whatever else a module says is fine.
local troubled = { error = "error"; warn = "warn" };

local function count(modules, failed)
	local counts = { ok = 0; warn = 0; error = 0 };
	for name, environment in pairs(modules) do
		failed[name] = nil;
		-- A module of all hosts has a status of its own on each, or none there.
		local status = troubled[rawget(environment.module, "status_type")] or "ok";
		counts[status] = counts[status] + 1;
	end
	for _ in pairs(failed) do
		counts.error = counts.error + 1;
	end
	return counts;
end

local function watch_modules(pack)
	local watched = {};
	local function watch(host, modules)
		-- failed: names of those that couldn't be loaded, so that only their last status tells of them.
		watched[host] = { modules = modules; metrics = pack:all("prosody_modules", host); failed = {}; changed = true };
	end
	local function changed(_, host)
		local entry = watched[host or global];
		if entry then
			entry.changed = true;
		end
	end
	local function updated(event, host)
		local entry = watched[host or global];
		if entry then
			entry.changed = true;
			if not entry.modules[event.name] then
				entry.failed[event.name] = true;
			end
		end
	end

	watch(global, require "core.modulemanager".get_modules(global));
	pack:on_host("modules", function (host, session)
		watch(host, session.modules);
	end, function (host)
		watched[host] = nil;
	end);
	for event, f in pairs {
		["module-loaded"] = changed; ["module-reloaded"] = changed; ["module-unloaded"] = changed;
		["module-status/updated"] = updated;
	} do
		pack:hook("modules", event, f);
		pack:hook_hosts("modules", event, f);
	end

	-- Counted again where something has changed.
	pack:on_collection("modules", function ()
		for _, entry in pairs(watched) do
			if entry.changed then
				entry.changed = false;
				for status, number in pairs(count(entry.modules, entry.failed)) do
					entry.metrics[status]:set(number);
				end
			end
		end
	end);
end

local function watch_components(pack)
	local hosts, metrics = {}, {};
	pack:on_host("modules", function (host, session)
		hosts[host] = session.type == "component" and session.modules or nil;
	end, function (host)
		hosts[host], metrics[host] = nil, nil;
	end);
	pack:on_collection("modules", function ()
		for host, modules in pairs(hosts) do
			local component = modules.component;
			if component and not metrics[host] then
				metrics[host] = pack:metric("prosody_component_connected", host);
			end
			if metrics[host] then
				metrics[host]:set(component and component.connected and 1 or 0);
			end
		end
	end);
end

return function (pack)
	watch_modules(pack);
	watch_components(pack);
end;
