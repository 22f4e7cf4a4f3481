-- Rooms in memory, who is in them, and who enters.
--
-- An occupant is a nick in a room, whatever number of sessions it has. Events don't tell all of their number: one who changes
-- the nick leaves, but need not enter. So the events tell which rooms have changed, and those are counted again at the next
-- collection. A room that Prosody moves out of memory keeps its occupants, who will be there when it comes back.

-- Before handlers that end an event.
local first = 1000;

-- Rooms that have changed, after which they are counted before a collection asks for it: maybe there is none.
local most_changed = 1000;

-- How many rooms are in memory. Counting them one by one is for a mod_muc that isn't as Prosody's.
local function count_rooms(live_rooms)
	for i = 1, 10 do
		local name, rooms = debug.getupvalue(live_rooms, i);
		if name == "rooms" and rooms.count then
			return rooms:count();
		elseif not name then
			break;
		end
	end
	local number = 0;
	for _ in live_rooms() do
		number = number + 1;
	end
	return number;
end

-- A host with rooms. `occupants` has the number by room, of those that have any.
local function new_entry(pack, host, session)
	return {
		session = session;
		joins = pack:metric("prosody_muc_joins", host);
		rooms = pack:metric("prosody_muc_rooms", host);
		all_occupants = pack:metric("prosody_muc_occupants", host);
		occupants = {}; total = 0; changed = {}; changes = 0;
	};
end

local function set_occupants(entry, jid, number)
	entry.total = entry.total + number - (entry.occupants[jid] or 0);
	entry.occupants[jid] = number > 0 and number or nil;
end

local function recount(entry)
	for jid, room in pairs(entry.changed) do
		local number = 0;
		for _ in pairs(room._occupants) do
			number = number + 1;
		end
		set_occupants(entry, jid, number);
	end
	entry.changed, entry.changes = {}, 0;
end

local function change(entry, room)
	if not entry.changed[room.jid] then
		entry.changes = entry.changes + 1;
	end
	entry.changed[room.jid] = room;
	if entry.changes >= most_changed then
		recount(entry);
	end
end

return function (pack)
	local entries = {};

	local function hook(event, f)
		pack:hook_hosts("muc", event, function (data, host)
			if entries[host] then
				f(entries[host], data);
			end
		end, first);
	end
	hook("muc-occupant-joined", function (entry, event)
		entry.joins:add(1);
		change(entry, event.room);
	end);
	hook("muc-occupant-left", function (entry, event)
		change(entry, event.room);
	end);
	hook("muc-room-restored", function (entry, event)
		change(entry, event.room);
	end);
	hook("muc-room-destroyed", function (entry, event)
		local jid = event.room.jid;
		entry.changed[jid] = nil;
		set_occupants(entry, jid, 0);
	end);
	-- All rooms go; those who are used come back with their occupants.
	hook("module-unloaded", function (entry, event)
		if event.module == "muc" then
			entry.occupants, entry.total, entry.changed, entry.changes = {}, 0, {}, 0;
		end
	end);

	pack:on_host("muc", nil, function (host)
		entries[host] = nil;
	end);
	pack:hook_hosts("muc", "module-loaded", function (event, host)
		if event.module == "muc" and not entries[host] then
			entries[host] = new_entry(pack, host, pack.prosody.hosts[host]);
		end
	end);

	pack:on_collection("muc", function ()
		for _, entry in pairs(entries) do
			recount(entry);
			local muc = entry.session.modules.muc;
			entry.rooms:set(muc and count_rooms(muc.live_rooms) or 0);
			entry.all_occupants:set(entry.total);
		end
	end);
end;
