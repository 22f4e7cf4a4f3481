-- What a module gets for a metric family that the operator wants nothing of: it takes everything and keeps nothing.

local log = require "metre.log";

local function nothing() end

local function no_samples()
	return nothing;
end

-- One object does for all metrics of a type: nothing in it ever changes.
local metrics = {
	gauge = { set = nothing, add = nothing, value = 0 };
	counter = { set = nothing, add = nothing, value = 0, _created = 0 };
	histogram = { sample = nothing, _sum = 0, _count = 0, _created = 0 };
	summary = { sample = nothing, _sum = 0, _count = 0, _created = 0 };
};
for _, metric in pairs(metrics) do
	metric.reset = nothing;
	metric.iter_samples = no_samples;
end

-- For those who don't know its type.
local any = { set = nothing, add = nothing, sample = nothing, reset = nothing, iter_samples = no_samples };

local family_methods = { clear = nothing, iter_metrics = no_samples };
local family_mt = { __index = family_methods };

function family_methods:with_partial_label()
	return self;
end

local function new(fields)
	local metric = metrics[fields.type_];
	fields.with_labels = function () return metric; end
	fields.data = metric;
	if fields.user_labels > 0 then
		fields.data = { get = nothing };
	end
	return setmetatable(fields, family_mt);
end

-- What clients send may make any number of families, so the log has a line each for some of them only.
local most_logged = 100;

local function log_ignored(registry, full_name, why)
	local logged, short = registry._ignored, full_name:sub(1, 200);
	if logged[short] or registry._ignored_count > most_logged then
		return;
	end
	logged[short] = why;
	registry._ignored_count = registry._ignored_count + 1;
	if registry._ignored_count > most_logged then
		log("warn", "More metric families are ignored, and not logged any more");
	else
		log("warn", "Metric family %s is ignored: %s", short, why);
	end
end

return {
	any = any;
	log = log_ignored;
	new = new;
	nothing = nothing;
};
