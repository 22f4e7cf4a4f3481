-- Repairs what modules register families with. Whatever is repaired ends in one log line a family.

local log = require "metre.log";
local t_concat, t_insert = table.concat, table.insert;

local problems_methods = {};
local problems_mt = { __index = problems_methods };

local function problems()
	return setmetatable({}, problems_mt);
end

local raw_length = rawget(_G, "rawlen") or function (list) return #list; end -- Lua 5.1 asks no metamethod

-- More elements than any list has. What claims to have more has as many as there are.
local most_claimed = 1000;

local function length(list)
	local claimed = #list;
	return claimed <= most_claimed and claimed or raw_length(list);
end

-- Text that stays text, numbers as their digits; nil for the rest.
local function text(value)
	local kind = type(value);
	if kind == "string" then
		return value;
	elseif kind == "number" then
		return tostring(value);
	end
end

function problems_methods:note(message, ...)
	t_insert(self, message:format(...));
end

function problems_methods:name(name)
	local repaired = text(name);
	if not repaired or repaired == "" then
		self:note("its name is %s, so it is called 'unnamed'", repaired and "empty" or "a " .. type(name));
		return "unnamed";
	end
	return repaired;
end

function problems_methods:unit(unit)
	local repaired = text(unit);
	if unit ~= nil and not repaired then
		self:note("its unit is a %s and is left out", type(unit));
	end
	return repaired;
end

function problems_methods:description(description)
	local repaired = text(description);
	if description ~= nil and not repaired then
		self:note("its description is a %s and is left out", type(description));
	end
	return repaired;
end

-- Always a new list, so that nothing changes when the module changes its own.
function problems_methods:label_keys(label_keys)
	if label_keys ~= nil and type(label_keys) ~= "table" then
		self:note("its label keys are a %s and not a list", type(label_keys));
		label_keys = { text(label_keys) };
	end
	local repaired = {};
	for i = 1, label_keys and length(label_keys) or 0 do
		local label_key = text(label_keys[i]);
		if not label_key then
			self:note("its label key %d is a %s", i, type(label_keys[i]));
			label_key = "label";
		end
		repaired[i] = label_key;
	end
	return repaired;
end

-- Numbers where that is possible; the store knows what can be a threshold.
function problems_methods.buckets(_, buckets)
	local repaired = {};
	for i = 1, length(buckets) do
		repaired[i] = tonumber(buckets[i]) or 0/0;
	end
	return repaired;
end

function problems_methods:log(name)
	if #self > 0 then
		log("warn", "Metric family %s: %s", name, t_concat(self, "; "));
	end
end

return {
	problems = problems;
};
