-- What there is in one round: providers, and all objects and functions that were found by walking them.

local trace = require "fuzz.trace";
local configs = require "fuzz.configs";

local most_subjects, most_functions = 150, 500;

-- Names under which functions may be found.
local members = {
	"gauge", "counter", "histogram", "summary", "get_metric_families", "render", "explain", "with_labels", "with_partial_label",
	"iter_metrics", "clear", "set", "add", "sample", "reset", "iter_samples", "get", "cork", "uncork", "flush", "close",
	"value", "_created", "_sum", "_count", 1, 2,
};
local metamethods = { "__index", "__newindex", "__gc", "__pairs", "__ipairs", "__len", "__tostring", "__eq" };

-- These start threads, wait for them or for the network; so not too often.
local slow = { ["handler of server-started"] = 4, start = 10, flush = 20, stop = 10, close = 10, start_outside = 20 };

local methods = {};
local mt = { __index = methods };

local foreign = { [debug.getmetatable(io.stdout)] = true, [debug.getmetatable("")] = true };

local function replace_or_append(list, most, random, item)
	if #list < most then
		table.insert(list, item);
	else
		list[1 + random:below(most)] = item;
	end
end

function methods:add_function(call, name)
	self.values.name(call, name);
	replace_or_append(self.functions, most_functions, self.random, { call = call, name = name, slow = slow[name:match("[%w_]*$")] });
end

local sorted_keys = trace.traverses(function (object)
	local keys = {};
	for key in next, object do
		if type(key) == "string" or type(key) == "number" or type(key) == "userdata" then
			table.insert(keys, { key = key, text = type(key) .. tostring(key) });
		end
	end
	table.sort(keys, function (a, b) return a.text < b.text; end);
	return keys;
end);

-- Adds an object, and the functions that can be got at by it. seen: those that were added together with it.
function methods:add(value, name, depth, seen)
	local kind = type(value);
	depth, seen = depth or 0, seen or {};
	if kind ~= "table" and kind ~= "userdata" and kind ~= "function" or self.protected[value] or seen[value] then
		return;
	end
	seen[value] = true;
	if kind == "function" then
		self:add_function(value, name);
		return;
	elseif depth > 3 or #name > 60 then
		return;
	end
	local metatable = debug.getmetatable(value);
	if foreign[metatable] or metatable and self.hostile[metatable] then
		return;
	end
	self.values.name(value, name);
	replace_or_append(self.subjects, most_subjects, self.random, { value = value, name = name, metatable = metatable });
	for _, member in ipairs(members) do
		local found, of = pcall(function () return value[member]; end);
		if found and (type(of) == "function" or type(of) == "table") then
			self:add(of, name .. "." .. member, depth + 1, seen);
		end
	end
	if kind == "table" then
		for _, item in ipairs(sorted_keys(value)) do
			local key_name = type(item.key) == "userdata" and "hidden" or tostring(item.key);
			self:add(rawget(value, item.key), name .. "." .. key_name, depth + 1, seen);
			if type(item.key) == "userdata" then
				self:add_hidden_key(item.key);
			end
		end
	end
	-- What only the debug library shows.
	for _, of in ipairs(type(metatable) == "table" and metamethods or {}) do
		local call = rawget(metatable, of);
		if type(call) == "function" then
			self.finalizers[call] = of == "__gc" or self.finalizers[call];
			self:add_function(call, "metatable of " .. name .. "." .. of);
		end
	end
end

function methods:add_hidden_key(key)
	for _, known in ipairs(self.hidden_keys) do
		if known == key then
			return;
		end
	end
	table.insert(self.hidden_keys, key);
end

function methods:pick_subject()
	return #self.subjects > 0 and self.random:pick(self.subjects) or nil;
end

function methods:pick_function()
	local found = self.random:pick(self.functions);
	if found.slow and self.random:below(found.slow * 3) > 0 then
		return self.random:pick(self.functions);
	end
	return found;
end

function methods:forget_some()
	local random = self.random;
	for _ = 1, random:below(40) do
		if #self.subjects > 10 then
			table.remove(self.subjects, 1 + random:below(#self.subjects));
		end
		if #self.functions > 40 then
			table.remove(self.functions, 1 + random:below(#self.functions));
		end
	end
end

function methods:new_provider(config, name, with_statsd)
	local make = require "metre"[with_statsd and "new_with_statsd" or "new"];
	local ok, stats, err = pcall(make, config);
	if not ok then
		self.fail("new() raised " .. tostring(stats));
	elseif not stats then
		if type(err) ~= "string" then
			self.fail("new() returned no message but " .. trace.describe(err));
		end
		return nil;
	end
	table.insert(self.providers, stats);
	table.insert(self.stops, stats._native.stop);
	self:add(stats, name);
	return stats;
end

function methods:new_chaos_provider()
	local random = self.random;
	local right = random:below(3) > 0;
	local config = right and configs.right(random, self.directory) or configs.nonsense(self);
	trace.note(("new provider, %s"):format(right and "configured" or "nonsense"));
	return self:new_provider(config, "stats" .. #self.providers, random:below(10) == 0);
end

local kinds = { "gauge", "counter", "histogram", "summary" };

-- A family as a module would register it.
function methods:register()
	local random = self.random;
	local stats = random:pick(self.providers);
	local kind, name = random:pick(kinds), "fuzz_" .. random:below(25);
	local keys = random:pick { {}, { "a" }, { "a", "b" }, { "host" }, { "host", "b", "c" } };
	trace.note(("register %s %s"):format(kind, name));
	local registry = stats.metric_registry;
	local register = registry[kind];
	if random:below(4) == 0 then
		-- As one of metre's own, whose series go when they are told to.
		register = function (to, ...)
			return require "metre.registry".register(to, kind, ...);
		end
	end
	local of_pack = { leaves = true, uncreated = random:below(2) == 0 };
	local ok, family = pcall(register, registry, name, "", "", keys, { buckets = { 1, 2, 3 } }, of_pack);
	if ok then
		self:add(family, kind .. name:match("%d+"));
		self.families[1 + random:below(20)] = { family = family, labels = #keys };
	elseif not self.tampered then
		self.fail("registering raised " .. trace.describe(family));
	end
end

-- A metric as a module would get it.
function methods:obtain()
	local of = self.families[1 + self.random:below(20)];
	if not of then
		return;
	end
	local random, list = self.random, { n = of.labels };
	for i = 1, of.labels do
		list[i] = "v" .. random:below(random:below(30) == 0 and 3000 or 8);
	end
	trace.note("with_labels " .. trace.list(list));
	local ok, metric = pcall(of.family.with_labels, of.family, self.values.unpack(list));
	if ok then
		self:add(metric, of.family.type_ .. "_metric");
	elseif not self.tampered and not (self.ended and metric == "metre: the Lua state is closing") then
		self.fail("with_labels raised " .. trace.describe(metric));
	end
end

-- A value that is refused, of a family that has not had one yet.
function methods:provoke_notice()
	self.provoked = self.provoked + 1;
	local stats = self.random:pick(self.providers);
	local registry = stats.metric_registry;
	pcall(function () registry:gauge("fuzz_notice" .. self.provoked):with_labels():set("nonsense"); end);
end

local function new(fields)
	fields.subjects, fields.functions, fields.providers, fields.families, fields.hidden_keys, fields.stops = {}, {}, {}, {}, {}, {};
	-- What nothing shall be done to.
	fields.protected = {};
	-- Those of metre's own objects, by whatever name they are found.
	fields.finalizers = {};
	fields.hostile = setmetatable({}, { __mode = "k" });
	fields.raised = setmetatable({}, { __mode = "k" });
	fields.provoked, fields.budget = 0, 0;
	return setmetatable(fields, mt);
end

return { new = new };
