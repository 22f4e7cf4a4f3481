-- Many series, some of them made again and again.

local count = module:get_option_number("metre_many_series", 1000);
local family = module:metric("counter", "many", "", "Many series", { "number", "user" });

for number = 1, count do
	family:with_labels(tostring(number), "user" .. number .. "@example.org"):add(number);
end
