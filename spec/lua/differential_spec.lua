-- Random operations through Prosody's own util.statistics and through metre: both must show the same.

local pages = require "support.pages";
local providers = require "support.providers";
local new_random = require "support.random";

local sequences, operations = 800, 250;

local kinds = { "gauge", "counter", "histogram", "summary" };
local names = { "prosody_mod_c2s/connections", "prosody_mod_x/y", "a_b", "size" };
local units = { "", "", "bytes", "seconds" };
local key_lists = { {}, {}, { "host" }, { "host", "type" }, { "host", "type", "ip_family" } };
local values = { "localhost", "example.org", "c2s", "ipv4", "", "ü 1", "a,b=c{}" };
local bucket_lists = { { 1, 5, 10 }, { 0.001, 0.1, 1.5, 60 }, { 1024, 1048576 }, {} };
local numbers = { 0, 1, 2, 3, 7, 100, 0.5, 0.1, 1.5, 2.25, 1e6, 123456789, 5, 10 };

local function copy(list)
	local result = {};
	for i, value in ipairs(list) do
		result[i] = value;
	end
	return result;
end

-- One provider's side of a sequence: families and handles under numbers, so that both sides have the same ones.
local function new_side(name)
	return { registry = providers[name](), families = {}, handles = {} };
end

-- Each returns a function that does the same to either side.
local actions = {};

function actions.register(random)
	local kind, name, unit = random:pick(kinds), random:pick(names), random:pick(units);
	local keys, buckets = random:pick(key_lists), random:pick(bucket_lists);
	return function (side)
		local family = side.registry[kind](side.registry, name, unit, "Help", copy(keys), { buckets = copy(buckets) });
		table.insert(side.families, family);
	end
end

function actions.get_handle(random)
	local which, partial = random:below(1000), random:below(3);
	local given = { random:pick(values), random:pick(values), random:pick(values) };
	return function (side)
		local family = side.families[which % #side.families + 1];
		local unpack = table.unpack or unpack; -- luacheck: ignore 113
		local count = #family.label_keys;
		local metric;
		if partial == 0 and count > 0 then
			metric = family:with_partial_label(given[1]):with_labels(unpack(given, 2, count));
		else
			metric = family:with_labels(unpack(given, 1, count));
		end
		table.insert(side.handles, { metric = metric, kind = family.type_ });
	end
end

function actions.update(random)
	local which, reset = random:below(1000), random:below(40) == 0;
	local number, by_set, sign = random:pick(numbers), random:below(2) == 0, random:below(3) - 1;
	return function (side)
		local handle = side.handles[which % math.max(#side.handles, 1) + 1];
		if not handle then
			return;
		end
		local metric = handle.metric;
		if reset then
			metric:reset();
		elseif handle.kind == "gauge" then
			metric[by_set and "set" or "add"](metric, sign * number);
		elseif handle.kind == "counter" then
			metric[by_set and "set" or "add"](metric, number);
		else
			metric:sample(number);
		end
	end
end

function actions.clear(random)
	local which, really = random:below(1000), random:below(20) == 0;
	return function (side)
		if really then
			side.families[which % #side.families + 1]:clear();
		end
	end
end

local choice = { "register", "get_handle", "get_handle", "update", "update", "update", "update", "update", "clear" };

-- All that can be seen of a metric by its fields.
local function describe_fields(kind, metric)
	if kind == "gauge" or kind == "counter" then
		return { value = metric.value, created = type(metric._created) };
	end
	local fields = { sum = metric._sum, count = metric._count, created = type(metric._created) };
	if kind == "histogram" then
		for i, bucket in ipairs(metric) do
			fields[i] = { bucket.threshold, bucket.threshold_s, bucket.count };
		end
	end
	return fields;
end

local function describe_samples(metric)
	local samples = {};
	for suffix, extra, value in metric:iter_samples() do
		local key = suffix .. (extra and "{" .. extra.le .. "}" or "");
		assert(samples[key] == nil, "sample twice: " .. key);
		samples[key] = suffix == "_created" and type(value) or value;
	end
	return samples;
end

-- All that can be seen of a registry.
local function describe_registry(registry)
	local seen = {};
	for name, family in pairs(registry:get_metric_families()) do
		local metrics = {};
		for labels, metric in family:iter_metrics() do
			metrics[table.concat(labels, "\0")] = {
				fields = describe_fields(family.type_, metric);
				samples = describe_samples(metric);
				labels = labels;
			};
		end
		seen[name] = {
			name = family.family_name, kind = family.type_, unit = family.unit, description = family.description,
			keys = family.label_keys, user_labels = family.user_labels, metrics = metrics;
		};
	end
	return seen;
end

it("metre and Prosody's own provider show the same after the same operations", function ()
	local metre_pages = {};
	for seed = 1, sequences do
		local random = new_random(seed);
		local theirs, ours = new_side("prosody"), new_side("metre");
		local function act(name)
			local action = actions[name](random);
			action(theirs);
			action(ours);
		end
		act("register");
		for _ = 1, operations do
			act(random:pick(choice));
		end
		assert.same(describe_registry(theirs.registry), describe_registry(ours.registry), "seed " .. seed);
		local page = ours.registry:render();
		assert.same(pages.samples(theirs.registry:render()), pages.samples(page), "page of seed " .. seed);
		table.insert(metre_pages, page);
	end
	for i, problem in ipairs(pages.check(metre_pages)) do
		assert.is_false(problem, "page of seed " .. i);
	end
	print(("differential: %d sequences of %d operations, as many pages"):format(sequences, operations + 1));
end);
