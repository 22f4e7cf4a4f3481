-- Updates metrics of every kind, many a second, and counts beside it in plain Lua what they have to show. May be reloaded at any time.
--
-- An entry says what a series shows (`page`, since it last began at zero) and what was counted in all (`total`).

local statsmanager = require "core.statsmanager";
local sleep = require "socket".sleep;

local state = module:shared("/*/metre_soak/state");
state.entries = state.entries or {};
state.updates, state.stanzas, state.loads = state.updates or 0, state.stanzas or 0, (state.loads or 0) + 1;

local tick, updates_a_tick, passing_a_tick = 0.05, 500, 5;
local prefix = "prosody_mod_metre_soak/";
local buckets = { 0.5, 1, 2 };
local kinds = { "a", "b", "c.d", "e_f" };

-- What is counted of a series. The labels are those after `host`.
local function entry(kind, name, ...)
	local key = table.concat({ name, ... }, "\0");
	local found = state.entries[key];
	if not found then
		found = { kind = kind, name = prefix .. name, labels = { module.host, ... }, page = 0, total = 0 };
		if kind == "histogram" or kind == "summary" then
			found.page_sum, found.total_sum = 0, 0;
		end
		if kind == "histogram" then
			found.thresholds, found.page_buckets, found.total_buckets = buckets, { 0, 0, 0 }, { 0, 0, 0 };
		end
		state.entries[key] = found;
	end
	return found;
end

local function counted(found, step)
	found.page, found.total = found.page + step, found.total + step;
end

local function sampled(found, value)
	counted(found, 1);
	if value then
		found.page_sum, found.total_sum = found.page_sum + value, found.total_sum + value;
	end
	for i, threshold in ipairs(found.thresholds or {}) do
		if value and value <= threshold then
			found.page_buckets[i], found.total_buckets[i] = found.page_buckets[i] + 1, found.total_buckets[i] + 1;
		end
	end
end

local function began(found)
	found.page, found.page_sum = 0, found.page_sum and 0;
	found.page_buckets = found.page_buckets and { 0, 0, 0 };
end

local amount, counter, rate = entry("gauge", "amount"), entry("counter", "counter"), entry("counter", "rate");
local times, sizes = entry("times", "times_seconds"), entry("histogram", "sizes_bytes");
local distribution = entry("summary", "distribution_items");
local measures = {
	amount = module:measure("amount", "amount");
	counter = module:measure("counter", "counter");
	rate = module:measure("rate", "rate");
	times = module:measure("times", "times");
	sizes = module:measure("sizes", "sizes", { buckets = buckets });
	distribution = module:measure("distribution", "distribution", { unit = "items" });
};
-- module:measure() has these begin at zero.
amount.value = 0;
began(counter);
began(rate);

local families = {
	gauge = module:metric("gauge", "level", "", "", { "kind" });
	counter = module:metric("counter", "tally", "", "", { "kind" });
	histogram = module:metric("histogram", "weight", "grams", "", { "kind" }, { buckets = buckets });
	summary = module:metric("summary", "load", "items", "", { "kind" });
	-- Its series come and go.
	passing = module:metric("counter", "passing", "", "", { "number" });
	-- A global module's, so that it can be cleared.
	together = statsmanager.metric("gauge", prefix .. "together", "", "", { "kind" });
};
local passing = entry("passing", "passing");

-- A family that is another one after each reload.
local is_odd = state.loads % 2 == 1;
local shifting = module:metric("counter", "shifting", "", "", is_odd and { "kind" } or { "kind", "more" });
local shifted = is_odd and entry("counter", "shifting", "a") or entry("counter", "shifting", "a", "b");
entry("counter", "shifting", "a").gone = not is_odd;
entry("counter", "shifting", "a", "b").gone = is_odd;
began(shifted);
shifting = is_odd and shifting:with_labels("a") or shifting:with_labels("a", "b");

local held = {};
for _, kind in ipairs(kinds) do
	held[kind] = {
		{ families.gauge:with_labels(kind), entry("gauge", "level", kind) };
		{ families.counter:with_labels(kind), entry("counter", "tally", kind) };
		{ families.histogram:with_labels(kind), entry("histogram", "weight_grams", kind) };
		{ families.summary:with_labels(kind), entry("summary", "load_items", kind) };
	};
end

-- Ten updates.
local function update(turn)
	local kind = kinds[turn % #kinds + 1];
	local gauge, tally, weight, load = held[kind][1], held[kind][2], held[kind][3], held[kind][4];
	local value = turn % 13 * 0.25;
	gauge[1]:set(turn % 1000);
	gauge[2].value = turn % 1000;
	tally[1]:add(turn % 3);
	counted(tally[2], turn % 3);
	weight[1]:sample(value);
	sampled(weight[2], value);
	load[1]:sample(value);
	sampled(load[2], value);
	shifting:add(1);
	counted(shifted, 1);
	measures.amount(turn % 7);
	amount.value = turn % 7;
	measures.counter(2);
	counted(counter, 2);
	measures.rate();
	counted(rate, 1);
	measures.sizes(value);
	sampled(sizes, value);
	measures.distribution(value);
	sampled(distribution, value);
	if turn % 100 == 0 then
		measures.times()();
		sampled(times);
		-- As a module that holds nothing.
		families.counter:with_labels(kind):add(1);
		counted(tally[2], 1);
	end
	if turn % 10007 == 0 then
		for i = 2, 4 do
			held[kind][i][1]:reset();
			began(held[kind][i][2]);
		end
	end
end

module:add_timer(tick, function ()
	if not state.paused then
		for _ = 1, updates_a_tick / 10 do
			state.turn = (state.turn or 0) + 1;
			update(state.turn);
		end
		for _ = 1, passing_a_tick do
			state.passing = (state.passing or 0) + 1;
			families.passing:with_labels(("%d"):format(state.passing)):add(3);
			counted(passing, 3);
		end
		state.updates = state.updates + updates_a_tick + passing_a_tick;
	end
	return tick;
end);

-- As mod_c2s counts its sessions.
module:hook_global("stats-update", function ()
	statsmanager.cork();
	families.together:clear();
	local fails, slow = state.fails, state.slow;
	state.fails, state.slow = nil, nil;
	for turn = 1, 3 do
		for _, kind in ipairs(kinds) do
			families.together:with_labels(kind):add(1);
		end
		if turn == 2 and slow then
			sleep(slow);
		end
		if turn == 2 and fails then
			error("a collection that fails, as the test wants it");
		end
	end
	statsmanager.uncork();
end);

-- What clients say.
local stanzas = module:metric("counter", "stanzas", "", "", { "kind" });
for _, kind in ipairs { "message", "presence", "iq" } do
	local of_kind, found = stanzas:with_labels(kind), entry("counter", "stanzas", kind);
	local function count()
		of_kind:add(1);
		counted(found, 1);
		state.stanzas, state.updates = state.stanzas + 1, state.updates + 1;
	end
	module:hook("pre-" .. kind .. "/full", count, 1000);
	module:hook("pre-" .. kind .. "/bare", count, 1000);
	module:hook("pre-" .. kind .. "/host", count, 1000);
end
