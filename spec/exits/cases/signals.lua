-- Signals whose default is the end: the process ends by them at once, so no thread of metre's takes them.

local SIGINT = 2;

-- What the script does meanwhile.
local doing = {
	function (t, around, stats) t.count(around, stats, 10); end;
	function (t, around, stats)
		t.count(around, stats, 10);
		stats:flush();
	end;
	function (_, _, stats)
		stats:close();
		stats:flush();
	end;
	function (_, _, stats) stats.metric_registry:render(); end;
	function (t) t.host.pause(1); end;
};

-- Each thread but the main one has these blocked: SIGHUP, SIGINT, SIGQUIT and SIGTERM.
local function check_masks(t)
	local found = 0;
	for thread in t.host.names("/proc/self/task"):gmatch("%d+") do
		local status = io.open("/proc/self/task/" .. thread .. "/status");
		if status and tonumber(thread) ~= t.host.pid() then
			local blocked = status:read("*a"):match("SigBlk:%s*%x*(%x%x%x%x)\n");
			-- Nothing can be read of one that has just ended.
			if blocked then
				local bits = tonumber(blocked, 16);
				t.check(bits % 8 == 7 and math.floor(bits / 0x4000) % 2 == 1, "a thread takes signals: " .. blocked);
				found = found + 1;
			end
		end
		if status then
			status:close();
		end
	end
	t.check(found >= 2, "no threads");
end

local function signal(name, number, prepare, more)
	local case = { name = name, killed_by = number, ends = "signal " .. number };
	for key, value in pairs(more or {}) do
		case[key] = value;
	end
	function case.run(t, run)
		local around = t.surroundings(run);
		around.closing = "never";
		local stats = t.begin(around);
		check_masks(t);
		prepare(t);
		if around.server.away then
			t.say("away");
		end
		t.say("ready");
		local all = case.doing or doing;
		local go_on = all[run % #all + 1];
		while true do
			go_on(t, around, stats);
		end
	end
	return case;
end

local function by_default(number)
	return function (t) t.host.default(number); end;
end

return {
	signal("SIGTERM", 15, by_default(15));
	signal("SIGINT", SIGINT, by_default(SIGINT));
	signal("SIGHUP", 1, by_default(1));
	signal("SIGQUIT", 3, by_default(3));
	signal("SIGKILL", 9, function () end);
	-- Lua's own handler raises an error as soon as Lua code runs again; code that LuaJIT has compiled doesn't hear of it. (What metre's
	-- slower functions come upon, they return or log, whatever it is; so they are not what is done here.)
	signal("SIGINT, handled by Lua", SIGINT, function ()
		if rawget(_G, "jit") then
			rawget(_G, "jit").off();
		end
	end, { ends = "exit 1", stderr = "interrupted!", doing = {
		function (t, around, stats) t.count(around, stats, 10); end;
		function (t) t.host.pause(1); end;
	} });
}
