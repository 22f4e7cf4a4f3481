-- What a module gets for a metric family that the operator wants nothing of: it takes everything and keeps nothing.

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

return {
	new = new;
};
