-- What the metrics of some families have to show, kept in plain Lua. Nothing but the operations here changes these metrics,
-- whatever else happens to their provider.

local trace = require "fuzz.trace";
local pages = require "support.pages";

local kinds = { "gauge", "counter", "histogram", "summary" };
local steps = { 0, 1, 2, 3, 7, -1.5, 100, 0.5, 0.25, 1.75, 4096, "5", " 0x10 " };
local thresholds = { 1, 2.5, 100 }; -- not the table that metre gets, which others may write to
local label_values = { "x", "y", "z", 1, 2.0, "2", true, false, "long" .. ("g"):rep(200) };

-- The text that metre makes of a label value.
local function text(value)
	if type(value) == "number" then
		return ("%d"):format(value);
	end
	return value == nil and "" or tostring(value);
end

-- The number that metre takes a value for, if it is one.
local function number_of(value)
	if type(value) == "number" then
		return value;
	end
	local number = type(value) == "string" and tonumber(value) or nil;
	if number and number == number and number ~= 1/0 and number ~= -1/0 then
		return number;
	end
end

local update = {};

function update.gauge(state, method, number)
	state.value = method == "add" and state.value + number or method == "set" and number or state.value;
end

function update.counter(state, method, number)
	local to = method == "add" and state.value + number or number;
	if number == number and number >= 0 and to ~= 1/0 then
		state.value = to;
	end
end

function update.histogram(state, _, number)
	if number ~= number then
		return;
	end
	for i = 1, #thresholds do
		state[i] = state[i] + (number <= thresholds[i] and 1 or 0);
	end
	state.count, state.sum = state.count + 1, state.sum + number;
end
update.summary = update.histogram;

local function zero()
	return { value = 0, sum = 0, count = 0, 0, 0, 0 };
end

local methods = {};
local mt = { __index = methods };

local function same(a, b)
	return a == b or a ~= a and b ~= b;
end

function methods:check(condition, message, ...)
	if not condition then
		self.world.fail("the model: " .. message:format(...));
	end
end

function methods:any_object()
	local family = self.world.random:pick(self.families);
	local handles = family.handles;
	if self.world.random:below(2) == 0 and #handles > 0 then
		return handles[#handles].metric;
	end
	return family.family;
end

-- A metric of a family in one of the forms that there are, and what it has to show.
local function obtain(self, of)
	local random, family = self.world.random, of.family;
	if #of.handles > 0 and random:below(2) == 0 then
		return random:pick(of.handles);
	end
	local a, b = random:pick(label_values), random:pick(label_values);
	local key = of.labels == 0 and "" or text(a) .. "\0" .. text(b);
	local metric;
	if of.labels == 0 then
		metric = random:below(2) == 0 and family.data or family:with_labels();
	elseif random:below(3) == 0 then
		metric = family:with_partial_label(a):with_labels(b);
	elseif random:below(2) == 0 then
		metric = family:with_partial_label(a):with_partial_label(b):with_labels();
	else
		metric = family:with_labels(a, b);
	end
	of.states[key] = of.states[key] or zero();
	if of.labels > 0 and random:below(4) == 0 then
		metric = family.data:get(a, b);
	end
	self.world.protected[metric] = true;
	local handle = { metric = metric, state = of.states[key], key = key };
	if #of.handles > 30 then
		of.handles[1 + random:below(30)] = handle;
	else
		table.insert(of.handles, handle);
	end
	return handle;
end

-- One update by a right call, with whatever value.
function methods:update(way, way_name)
	local random, world = self.world.random, self.world;
	local of = random:pick(self.families);
	local method = random:pick(of.methods);
	local value = random:below(4) == 0 and world.values.pick() or random:pick(steps);
	local number = number_of(value);
	number = number and number + 0.0; -- as a float, since sums of Lua integers wrap
	if number and of.clamps and number < 0 then
		number = 0; -- and it is sampled as it is
	elseif number and (of.kind == "histogram" or of.kind == "summary") and number < 0 then
		value, number = 1, 1; -- the page has no sums any more after one below zero
	elseif number and (number ~= number or math.abs(number) > 2^40 or number * 4 % 1 ~= 0) then
		value, number = "nothing", nil; -- sums have to be exact
	end
	local handle = obtain(self, of);
	trace.note(("model %s %s(%q, %s) by %s"):format(of.name, method, handle.key, trace.describe(value), way_name));
	local calls, extra = 0, random:below(4) == 0 and world.values.pick();
	way(function ()
		calls = calls + 1;
		local ok, err = pcall(handle.metric[method], handle.metric, value, extra);
		self:check(ok, "%s:%s raised %s", of.name, method, trace.describe(err));
	end, random, world);
	self:check(calls == 1, "%s was called %d times by %s", method, calls, way_name);
	if method == "reset" then
		for field, is in pairs(zero()) do
			handle.state[field] = is;
		end
	elseif number then
		update[of.kind](handle.state, method, number);
	end
end

function methods:clear()
	local of = self.world.random:pick(self.families);
	trace.note("model clear " .. of.name);
	of.family:clear();
	for _, state in pairs(of.states) do
		for field, is in pairs(zero()) do
			state[field] = is;
		end
	end
end

-- Compares what a view shows.
local function check_view(self, of, key, view)
	local state = of.states[key];
	self:check(state, "%s has a series too much: %q", of.name, key);
	if of.kind == "gauge" or of.kind == "counter" then
		self:check(same(view.value, state.value), "%s %q: %s, not %s", of.name, key, tostring(view.value), tostring(state.value));
		return;
	end
	self:check(view._count == state.count, "%s %q: count %s, not %d", of.name, key, tostring(view._count), state.count);
	self:check(same(view._sum, state.sum), "%s %q: sum %s, not %s", of.name, key, tostring(view._sum), tostring(state.sum));
	if of.kind == "histogram" then
		for i = 1, #thresholds do
			self:check(view[i].count == state[i], "%s %q: bucket %d: %s, not %d", of.name, key, i, tostring(view[i].count), state[i]);
		end
	end
end

local function check_page(self, of, samples)
	for key, state in pairs(of.states) do
		local first, second = key:match("^(.*)%z(.*)$");
		local function is(suffix, le, expected)
			local labels = first and ('a="%s",b="%s"'):format(first, second) or "";
			labels = labels .. (le and (first and "," or "") .. ('le="%s"'):format(le) or "");
			local name = of.name .. suffix .. (labels ~= "" and "{" .. labels .. "}" or "");
			local found = samples[name];
			self:check(same(found, expected) or expected ~= expected and found == "NaN", "%s on the page is %s, not %s",
				name, tostring(found), tostring(expected));
		end
		if of.kind == "gauge" or of.kind == "counter" then
			is(of.kind == "counter" and "_total" or "", nil, state.value);
		else
			is("_count", nil, state.count);
			is("_sum", nil, state.sum);
			for i = 1, of.kind == "histogram" and #thresholds or 0 do
				is("_bucket", ({ "1", "2.5", "100" })[i], state[i]);
			end
		end
	end
end

-- Compares all that can be read with what there has to be. Nothing may be corked.
function methods:verify(page)
	local samples = pages.samples(page);
	for _, of in ipairs(self.families) do
		local left = 0;
		for _ in pairs(of.states) do
			left = left + 1;
		end
		for labels, view in of.family:iter_metrics() do
			check_view(self, of, #labels == 0 and "" or table.concat(labels, "\0"), view);
			left = left - 1;
		end
		self:check(left == 0, "%s lacks %d series", of.name, left);
		for _, handle in ipairs(of.handles) do
			if of.labels > 0 then
				local a, b = handle.key:match("^(.*)%z(.*)$");
				check_view(self, of, handle.key, of.family.data:get(a, b));
			end
		end
		check_page(self, of, samples);
	end
end

local function new(world, stats)
	local self = setmetatable({ world = world, stats = stats, families = {} }, mt);
	for _, kind in ipairs(kinds) do
		for _, labels in ipairs { 0, 2 } do
			local unit = labels == 0 and "bytes" or "";
			local name = "model_" .. kind .. labels;
			local keys = labels == 2 and { "a", "b" } or {};
			local family = stats.metric_registry[kind](stats.metric_registry, name, unit, "", keys, { buckets = { 1, 2.5, 100 } });
			name = family.family_name;
			local many = labels == 2 and world.random:below(12) == 0;
			local of = {
				name = name, kind = kind, labels = labels,
				clamps = labels == 0 and (kind == "histogram" or kind == "summary"), family = family, handles = {}, states = {},
				methods = (kind == "gauge" or kind == "counter") and { "add", "add", "set", "add", "set", "reset" }
					or { "sample", "sample", "sample", "sample", "reset" },
			};
			if labels == 0 then
				of.states[""] = zero();
			end
			-- More than a thousand series, so that their metrics are userdata.
			for i = 1, many and 1010 or 0 do
				family:with_labels("many", i);
				of.states["many\0" .. i] = zero();
			end
			table.insert(self.families, of);
			world.protected[family], world.protected[family.data], world.protected[family.with_labels] = true, true, true;
		end
	end
	return self;
end

return { new = new };
