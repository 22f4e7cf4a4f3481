-- The metric registry: what Prosody registers families with.

local ignored = require "metre.ignored";
local log = require "metre.log";
local native = require "metre.native";
local new_family = require "metre.family".new;
local repair = require "metre.repair";
local report = require "metre.lifecycle".report;
local t_insert, t_remove = table.insert, table.remove;

local registry_methods = {};
local registry_mt = { __index = registry_methods };

-- As in Prosody, the unit doesn't count: it is part of the name.
local function is_same(family, kind, label_keys)
	if family.type_ ~= kind or #family.label_keys ~= #label_keys then
		return false;
	end
	for i, label_key in ipairs(label_keys) do
		if family.label_keys[i] ~= label_key then
			return false;
		end
	end
	return true;
end

-- Replaces one family by another in the list of those whose series go; either may be missing.
local function note_expiring(self, old, new)
	for i, family in ipairs(old and self._expiring or {}) do
		if family == old then
			t_remove(self._expiring, i);
			break;
		end
	end
	if new then
		t_insert(self._expiring, new);
	end
end

-- of_pack: what only metre's own families have: whether series go when native.forget says so (leaves), and whether they are without
-- `_created` (uncreated).
local function register(self, kind, name, unit, description, label_keys, extra, of_pack)
	local buckets;
	if kind == "histogram" then
		buckets = type(extra) == "table" and extra.buckets;
		if type(buckets) ~= "table" then
			error("no buckets given for histogram metric", 3);
		end
	end
	local problems = repair.problems();
	name = problems:name(name);
	unit = problems:unit(unit);
	local full_name = name;
	if unit and unit ~= "" then
		full_name = name .. "_" .. unit;
	end
	description = problems:description(description);
	label_keys = problems:label_keys(label_keys);

	local existing = self.families[full_name];
	if existing and is_same(existing, kind, label_keys) then
		return existing;
	end
	local family, repairs, expires = self._native.register {
		kind = kind;
		name = full_name;
		unit = unit or "";
		help = description or "";
		label_keys = label_keys;
		buckets = buckets and problems:buckets(buckets);
		leaves = of_pack and of_pack.leaves;
		uncreated = of_pack and of_pack.uncreated;
		names_others = of_pack and of_pack.names_others;
	};
	local fields = {
		family_name = full_name;
		type_ = kind;
		unit = unit;
		description = description;
		label_keys = label_keys;
		user_labels = #label_keys;
		extra = extra;
	};
	if family == false then
		local why, sentence = repairs, expires;
		if why ~= "drop" then
			ignored.log(self, full_name, sentence);
		end
		return ignored.new(fields);
	elseif not family then
		report(family, repairs, expires);
		return ignored.new(fields);
	end
	if existing then
		log("debug", "Replacing metric family %s, which had another type or other label keys", full_name);
	end
	for _, done in ipairs(repairs) do
		problems:note("%s", done);
	end
	problems:log(full_name);
	family = new_family(fields, family);
	note_expiring(self, existing, expires and family);
	self.families[full_name] = family;
	return family;
end

for _, kind in ipairs { "gauge", "counter", "histogram", "summary" } do
	registry_methods[kind] = function (self, name, unit, description, label_keys, extra)
		return (register(self, kind, name, unit, description, label_keys, extra));
	end
end

function registry_methods:get_metric_families()
	return self.families;
end

-- The OpenMetrics page. Never raises: should it fail, the page is empty and the reason is logged.
function registry_methods:render()
	local page, err, logged = self._native.render();
	if not page then
		report(page, err, logged);
		return "# EOF\n";
	end
	return page;
end

-- What is decided for a family, and where: by its type if it is there, else as the arguments say.
function registry_methods:explain(name, kind, host)
	local found, explain = pcall(require, "metre.explain");
	return found and explain.explain(self, name, kind, host) or "metre: " .. tostring(explain);
end

-- How many series are looked at before Prosody does something else.
local most_looked_at = 10000;

-- Lets go of series whose time is over. Returns whether there are more to look at.
local function expire(self)
	local families, looked_at = self._expiring, 0;
	for _ = 1, #families do
		-- In turns, so that none has to wait for long.
		self._expired = self._expired % #families + 1;
		local looked, more = native.expire(families[self._expired]._native);
		looked_at = looked_at + looked;
		if more or looked_at >= most_looked_at then
			return true;
		end
	end
	return false;
end

local function new(provider)
	return setmetatable({
		families = {};
		-- Families whose series go, and the one that was looked at last.
		_expiring = {};
		_expired = 0;
		-- Why families that were logged are ignored, by name, and how many they are.
		_ignored = {};
		_ignored_count = 0;
		_native = provider;
	}, registry_mt);
end

return {
	expire = expire;
	new = new;
	register = register;
};
