-- The calls that modules make most, and those in which limits and rules have a say, with rules of several kinds.

local labels = { "host", "type", "ip_family" };

local cases, case = require "cases.updates"();

case("new series", 2e4, function (registry)
	local family = registry:counter("bench_new", "", "", labels);
	return function (n) for i = 1, n do family:with_labels("example.org", "user" .. i, ""):add(1); end end
end);
case("new label set beyond a limit", 2e4, function (registry)
	local family = registry:counter("bench_limited", "", "", labels);
	for i = 1, 51000 do
		family:with_labels("example.org", "first" .. i, "");
	end
	return function (n) for i = 1, n do family:with_labels("example.org", "user" .. i, ""):add(1); end end
end);
case("registering a family", 2e3, function (registry)
	return function (n) for i = 1, n do registry:gauge("bench_family" .. i, "", "", labels); end end
end);

-- 100 rules of which the last one is for all that is measured.
local function hundred(last)
	local rules = {};
	for i = 1, 99 do
		rules[i] = { match = "prosody_mod_example" .. i .. "_*", max_series = i, idle_ttl = "1h" };
	end
	last.match = "bench_*";
	rules[100] = last;
	return { rule = rules };
end

local configs = {
	none = {};
	hundred = hundred { max_series = 40000 };
	idle_ttl = hundred { type = { "gauge", "counter", "histogram", "summary" }, idle_ttl = "1h" };
	quantiles = hundred { type = { "summary", "histogram" }, quantiles = { 0.5, 0.9, 0.99 } };
	drop = hundred { drop = true };
};

-- metre's configuration for a variant.
function cases.config(variant)
	return assert(configs[variant], "no such variant");
end

return cases;
