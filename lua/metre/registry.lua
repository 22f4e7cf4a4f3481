-- The metric registry: what Prosody registers families with.

local log = require "metre.log";
local new_family = require "metre.family".new;
local repair = require "metre.repair";

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

local function register(self, kind, name, unit, description, label_keys, extra)
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
	local family, repairs = self._native.register {
		kind = kind;
		name = full_name;
		unit = unit or "";
		help = description or "";
		label_keys = label_keys;
		buckets = buckets and problems:buckets(buckets);
	};
	if not family then
		error("metre: cannot register metric family " .. full_name .. ": " .. tostring(repairs), 3);
	end
	if existing then
		log("debug", "Replacing metric family %s, which had another type or other label keys", full_name);
	end
	for _, done in ipairs(repairs) do
		problems:note("%s", done);
	end
	problems:log(full_name);
	family = new_family({
		family_name = full_name;
		type_ = kind;
		unit = unit;
		description = description;
		label_keys = label_keys;
		user_labels = #label_keys;
		extra = extra;
	}, family);
	self.families[full_name] = family;
	return family;
end

for _, kind in ipairs { "gauge", "counter", "histogram", "summary" } do
	registry_methods[kind] = function (self, ...)
		return (register(self, kind, ...));
	end
end

function registry_methods:get_metric_families()
	return self.families;
end

-- The OpenMetrics page. Never raises: should it fail, the page is empty and the reason is logged.
function registry_methods:render()
	local page, err = self._native.render();
	if not page then
		log("error", "Cannot render the metrics page: %s", err);
		return "# EOF\n";
	end
	return page;
end

local function new(provider)
	return setmetatable({
		families = {};
		_native = provider;
	}, registry_mt);
end

return {
	new = new;
};
