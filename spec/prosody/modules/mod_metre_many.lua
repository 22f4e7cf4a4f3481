-- Many series, some of them made again and again.

local count = module:get_option_number("metre_many_series", 1000);
local kind = module:get_option_string("metre_many_type", "counter");
local family = module:metric(kind, "many", "", "Many series", { "number", "user" });

for number = 1, count do
	local metric = family:with_labels(tostring(number), "user" .. number .. "@example.org");
	(metric.set or metric.add)(metric, number);
end
