-- Push notifications that mod_cloud_notify sends, and what the push services answer.

-- After all who may keep one from being sent; before whoever takes the answer.
local last, first = -1000, 1000;

-- Notifications whose answers are awaited; when there are more, the oldest is given up.
local most_awaited = 1000;

return function (pack)
	local name = "prosody_push_notifications";
	local metrics = pack:all_of_modules(name, { cloud_notify = true });

	-- The push service by the id of what was sent to it, and these ids in a ring.
	local awaited, ids, newest = {}, {}, 0;
	local function await(id, service)
		newest = newest % most_awaited + 1;
		if ids[newest] then
			awaited[ids[newest]] = nil;
		end
		ids[newest] = id;
		awaited[id] = service;
	end

	pack:hook_hosts("push", "cloud_notify/push", function (event, host)
		local attr = event.notification_stanza.attr;
		if not metrics[host] and pack:host_label(host) == host then -- by a module that isn't known
			metrics[host] = pack:all(name, host);
		end
		if not metrics[host] then
			return;
		end
		metrics[host].sent:add(1);
		if attr.id and attr.to then
			await(attr.id, attr.to);
		end
	end, last);

	pack:hook_hosts("push", "iq/host", function (event, host)
		local attr = event.stanza.attr;
		local service = awaited[attr.id];
		if not service or service ~= attr.from or not metrics[host] then
			return;
		end
		if attr.type == "result" then
			metrics[host].ok:add(1);
		elseif attr.type == "error" then
			metrics[host].error:add(1);
		else
			return;
		end
		awaited[attr.id] = nil;
	end, first);
end;
