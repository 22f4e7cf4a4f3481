-- Several providers in one process, and metre loaded twice.

-- Surroundings of several providers in one run.
local function several(t, run, count)
	local all = {};
	for number = 1, count do
		all[number] = t.served_surroundings(run * count + number);
		all[number].path = all[number].path .. number;
		all[number].closing = "never";
	end
	return all;
end

local function forget_metre()
	for name in pairs(package.loaded) do
		if name:find("^metre") then
			package.loaded[name] = nil;
		end
	end
end

-- Closes some and goes on with the others.
local function cross(t, around, stats)
	local first = around[1];
	stats[1]:close();
	t.disconnect(first);
	t.tell(first, true);
	t.check(not t.host.connect(first.path), "the first still serves");
	for number = 2, #stats do
		t.count(around[number], stats[number], 10);
		t.check(t.scrape(around[number].path):find("exits_total", 1, true), "another one doesn't");
	end
	t.check(stats[1].metric_registry:render():find("exits_total", 1, true), "no page");
end

local function begin(t, around)
	local stats = {};
	for number, one in ipairs(around) do
		stats[number] = t.begin(one);
	end
	return stats;
end

-- Closes the rest, in one of the orders there are.
local function finish(t, around, stats, run)
	for number = 2, #stats do
		local which = run % 2 == 0 and number or #stats + 2 - number;
		stats[which]:close();
		t.disconnect(around[which]);
		t.tell(around[which], true);
	end
end

return {
	{ name = "three, closed one after the other", run = function (t, run)
		local before = t.tally();
		local around = several(t, run, 3);
		local stats = begin(t, around);
		cross(t, around, stats);
		finish(t, around, stats, run);
		t.settles(before, "all closed");
	end };
	{ name = "two, one never closed", run = function (t, run)
		local around = several(t, run, 2);
		local stats = begin(t, around);
		cross(t, around, stats);
		t.tell(around[2], false);
		if run % 2 == 0 then
			t.exit(0, run % 4 == 0);
		end
	end };
	{ name = "eight, collected in any order", run = function (t, run)
		local before = t.tally();
		local around = several(t, run, 8);
		coroutine.wrap(function () begin(t, around); end)();
		t.wait_for("their threads to end", function ()
			t.collect();
			return t.host.entries("/proc/self/task") == before.threads;
		end);
		for _, one in ipairs(around) do
			t.disconnect(one);
			t.tell(one, true);
		end
		t.settles(before, "all collected");
	end };
	{ name = "closed and started again", run = function (t, run)
		local before = t.tally();
		local around = several(t, run, 1);
		local stats = begin(t, around)[1];
		for _ = 1, 5 do
			stats:close();
			t.disconnect(around[1]);
			t.settles(before, "closed");
			t.count(around[1], stats, 10);
			t.check(stats:flush());
			t.scrape(around[1].path);
		end
		stats:close();
		t.tell(around[1], true);
		t.settles(before, "closed at last");
	end };
	{ name = "the library loaded twice", run = function (t, run)
		local before = t.tally();
		local around = several(t, run, 2);
		local stats = { t.begin(around[1]) };
		local first = require "metre";
		forget_metre();
		t.check(require "metre" ~= first, "the same library");
		stats[2] = t.begin(around[2]);
		-- The metrics of one are none of the other's, and the other way round.
		local family = stats[1].metric_registry:gauge("a_gauge");
		stats[2].metric_registry:gauge("a_gauge"):with_labels():set(2);
		t.check(family.data.value == 1, "one store for both");
		cross(t, around, stats);
		finish(t, around, stats, run);
		t.settles(before, "all closed");
	end };
	{ name = "the library loaded again and again, and left behind", run = function (t, run)
		local before = t.tally();
		for round = 1, 10 do
			local around = t.served_surroundings(run * 10 + round);
			around.path = around.path .. round;
			forget_metre();
			local stats = t.provider(around);
			local closed = round % 3 == 0;
			if closed then
				stats:close();
			end
			t.disconnect(around);
			t.tell(around, closed);
		end
		forget_metre();
		if run % 2 == 0 then
			t.wait_for("their threads to end", function ()
				t.collect();
				return t.host.entries("/proc/self/task") == before.threads;
			end);
			t.settles(before, "all collected");
		end
	end };
}
