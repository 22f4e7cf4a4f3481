-- Which version runs, since when, with how much memory; when its configuration was read.

return function (pack)
	local prosody = pack.prosody;
	-- Prosody 13 has this itself.
	if not pack.registry.families.prosody_info then
		pack:metric("prosody_info", tostring(prosody.version)):set(1);
	end

	local reloads = pack:metric("prosody_config_reloads");
	local last_reload = pack:metric("prosody_config_last_reload_timestamp_seconds");
	last_reload:set(os.time());
	pack:hook("process", "config-reloaded", function ()
		reloads:add(1);
		last_reload:set(os.time());
	end);

	local start, heap = pack:metric("prosody_start_time_seconds"), pack:metric("prosody_lua_heap_bytes");
	pack:hook("process", "server-started", function ()
		start:set(prosody.start_time);
	end, 1000);
	pack:on_collection("process", function ()
		heap:set(collectgarbage("count") * 1024);
	end);
end;
