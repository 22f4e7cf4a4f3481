-- Names metrics and labels after what clients send, and measures what it shouldn't.

local nan = 0/0;

local resources = module:metric("counter", "resources", "", 'Resources "as" sent\n', { "resource", "a.b", "a_b" });
local family_number = 0;

module:hook("resource-bind", function (event)
	local resource = event.session.resource;
	resources:with_labels(resource, nil, 5):add(1);
	resources:with_labels(resource .. "\255", true, {}):add(1);
	family_number = family_number + 1;
	local odd = module:metric("gauge", resource, "", resource, { resource, resource });
	odd:with_labels(resource, "\n# EOF\n"):set(family_number);
end);

local measure = module:measure("odd", "distribution");
local counter = module:measure("odd_counter", "counter");
local clashing = module:measure("odd.counter", "amount");
local times = module:metric("histogram", "unsorted", "", "", {}, { buckets = { 5, nan, 1, 1, -3, "x" } });

module:hook_global("stats-update", function ()
	measure(nan);
	measure(-5);
	counter(-1);
	counter("many");
	counter();
	clashing(nan);
	clashing(print);
	times:with_labels():sample(2);
	times:with_labels():sample(nan);
end);
