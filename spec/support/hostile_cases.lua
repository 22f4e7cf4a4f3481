-- What modules and XMPP clients might do to a page. Each case gets a fresh registry, and its page has to be valid; a
-- string it returns has to stand on the page, and a list of strings has to stand there one by one. A function says
-- whether the registry, after rendering, is right.

local cases = {};

local function case(name, f)
	table.insert(cases, { name = name, run = f });
end

local nan = 0/0;
local bytes = "\255\254";

-- Label values

for what, value in pairs {
	["a backslash"] = { "a\\b", [[a\\b]] };
	["a quote"] = { 'a"b', [[a\"b]] };
	["a line feed"] = { "a\nb", [[a\nb]] };
	["a backslash before n"] = { "a\\nb", [[a\\nb]] };
	["all that is escaped"] = { "\\\"\n\\", [[\\\"\n\\]] };
	["braces and commas"] = { '{a="b",c}', [[{a=\"b\",c}]] };
	["the end of the page"] = { "\n# EOF\n", [[\n# EOF\n]] };
	["a carriage return"] = { "a\rb", "a\rb" };
	["other line ends"] = { "a\11b\12c\194\133d\226\128\168e", "a\11b\12c\194\133d\226\128\168e" };
	["NUL"] = { "a\0b", "a\0b" };
	["nothing"] = { "", "" };
	["a number"] = { 5222, "5222" };
	["a fraction"] = { 1.5, "1.5" };
	["true"] = { true, "true" };
	["false"] = { false, "false" };
	["malformed UTF-8"] = { "a" .. bytes .. "b", nil };
	["an overlong form"] = { "\192\175", nil };
	["a surrogate"] = { "\237\160\128", nil };
	["NaN"] = { nan, nil };
	["infinity"] = { 1/0, nil };
	["a table"] = { {}, nil };
	["a function"] = { print, nil };
	["64 kB"] = { ("x"):rep(65536), ("x"):rep(65536) };
} do
	case("label value: " .. what, function (registry)
		registry:counter("c", "", "", { "key" }):with_labels(value[1]):add(1);
		return value[2] and ('c_total{key="' .. value[2] .. '"} 1\n');
	end);
end

case("label value: nil", function (registry)
	registry:counter("c", "", "", { "a", "b" }):with_labels(nil, "x"):add(1);
	return 'b="x"} 1\n';
end);
case("label value: what tostring makes of it", function (registry)
	local value = setmetatable({}, { __tostring = function () return "::1"; end });
	registry:counter("c", "", "", { "ip" }):with_labels(value):add(1);
	return 'c_total{ip="::1"} 1\n';
end);
case("label value: tostring raises", function (registry)
	local value = setmetatable({}, { __tostring = function () error("no"); end });
	registry:counter("c", "", "", { "ip" }):with_labels(value):add(1);
	return "} 1\n";
end);
case("label value: two that look alike once repaired", function (registry)
	local family = registry:counter("c", "", "", { "a" });
	family:with_labels("\255"):add(1);
	family:with_labels("\254"):add(2);
	family:with_labels("5"):add(1);
	family:with_labels(5):add(2);
	return 'c_total{a="5"} 3\n';
end);
case("label value: in a partial label", function (registry)
	local family = registry:counter("c", "", "", { "a", "b" });
	family:with_partial_label('x"\n'):with_labels(7):add(1);
	return [[c_total{a="x\"\n",b="7"} 1]] .. "\n";
end);

-- Label keys

for what, keys in pairs {
	["with a quote"] = { 'a"b' };
	["with a line feed"] = { "a\nb" };
	["empty"] = { "" };
	["beginning with a digit"] = { "1a" };
	["not ASCII"] = { "größe" };
	["malformed UTF-8"] = { bytes };
	["twice the same"] = { "a", "a" };
	["equal once escaped"] = { "a.b", "a_b" };
	["a number"] = { 5 };
	["a boolean"] = { true };
	["the name of the metric"] = { "__name__" };
} do
	case("label key: " .. what, function (registry)
		local family = registry:gauge("g", "", "", keys);
		local unpack = table.unpack or unpack; -- luacheck: ignore 113
		family:with_labels(unpack({ "x", "y" }, 1, #keys)):set(1);
		return '="x"';
	end);
end
case("label key: le on a histogram", function (registry)
	registry:histogram("h", "", "", { "le" }, { buckets = { 1 } }):with_labels("x"):sample(2);
	return { '="x",le="1"} 0\n', '="x",le="+Inf"} 1\n' };
end);
case("label key: a string instead of a list", function (registry)
	registry:gauge("g", "", "", "host"):with_labels("a"):set(1);
	return 'g{host="a"} 1\n';
end);

-- Names, units, descriptions

for what, name in pairs {
	["with a line feed"] = "a\n# EOF\nb";
	["with a blank"] = "a b";
	["not ASCII"] = "größe";
	["malformed UTF-8"] = bytes;
	["empty"] = "";
	["beginning with a digit"] = "5xx";
	["with braces"] = "a{b=\"c\"} 1";
	["a number"] = 5;
	["a boolean"] = true;
} do
	case("name: " .. what, function (registry)
		registry:gauge(name):with_labels():set(4711);
		return " 4711\n";
	end);
end
case("name: nil", function (registry)
	registry:gauge(nil):with_labels():set(4711);
	return " 4711\n";
end);

for what, pair in pairs {
	["equal once escaped"] = { { "gauge", "a.b" }, { "gauge", "a_b" } };
	["a counter's total"] = { { "counter", "x" }, { "gauge", "x_total" } };
	["a counter's total, the other way round"] = { { "gauge", "x_total" }, { "counter", "x" } };
	["two counters"] = { { "counter", "x" }, { "counter", "x_total" } };
	["a histogram's count"] = { { "histogram", "x" }, { "gauge", "x_count" } };
	["a histogram's sum"] = { { "histogram", "x" }, { "counter", "x_sum" } };
	["a histogram's buckets"] = { { "histogram", "x" }, { "gauge", "x_bucket" } };
	["a summary's sum"] = { { "summary", "x" }, { "gauge", "x_sum" } };
	["a creation time"] = { { "counter", "x" }, { "gauge", "x_created" } };
	["through the unit"] = { { "gauge", "a.b" }, { "gauge", "a", "b" } };
} do
	case("clash of names: " .. what, function (registry)
		for i, spec in ipairs(pair) do
			local metric = registry[spec[1]](registry, spec[2], spec[3], "", {}, { buckets = { 1 } }):with_labels();
			(metric.sample or metric.set)(metric, 4711 + i);
		end
		return { " 4712\n", " 4713\n" };
	end);
end
case("clash of names: a hundred", function (registry)
	for i = 33, 132 do
		registry:gauge("a" .. string.char(i) .. "b"):with_labels():set(1000 + i);
	end
	return { " 1033\n", " 1132\n" };
end);

for what, unit in pairs {
	["a number"] = 5;
	["with a slash"] = "B/s";
	["beginning with a digit"] = "1/s";
	["with a line feed"] = "a\nb";
	["not ASCII"] = "°C";
	["malformed UTF-8"] = bytes;
} do
	case("unit: " .. what, function (registry)
		registry:gauge("g", unit):with_labels():set(4711);
		return " 4711\n";
	end);
end
case("unit: a boolean", function (registry)
	registry:gauge("g", true):with_labels():set(4711);
	return "\ng 4711\n";
end);
case("unit: nil", function (registry)
	registry:gauge("g", nil):with_labels():set(4711);
	return "\ng 4711\n";
end);
case("unit: empty", function (registry)
	registry:gauge("g", "", ""):with_labels():set(4711);
	return function (page) return not page:find("# UNIT") and not page:find("# HELP"); end
end);

for what, description in pairs {
	["with a line feed"] = "a\nb";
	["with a quote"] = 'a "b"';
	["with a backslash"] = "a\\nb";
	["malformed UTF-8"] = bytes;
	["a number"] = 5;
	["a boolean"] = true;
	["a table"] = {};
	["other line ends"] = "a\rb\11c\194\133d\226\128\168e";
} do
	case("description: " .. what, function (registry)
		registry:gauge("g", "", description):with_labels():set(4711);
		return "\ng 4711\n";
	end);
end
case("description: nil", function (registry)
	registry:gauge("g", "", nil):with_labels():set(4711);
	return "\ng 4711\n";
end);

-- Values

for what, value in pairs {
	["NaN"] = nan, ["minus NaN"] = -nan, ["infinity"] = 1/0, ["minus infinity"] = -1/0, ["minus zero"] = -0.0;
	["a tiny one"] = 5e-324, ["a huge one"] = 1.7976931348623157e308;
} do
	case("gauge: " .. what, function (registry)
		registry:gauge("g"):with_labels():set(value);
		return function (page)
			local text = page:match("\ng (%S+)\n"):gsub("NaN", "nan"):gsub("%+?Inf", "inf");
			local number = tonumber(text) or text == "nan" and nan or (text:find("-", 1, true) and -1/0 or 1/0);
			return number == value or number ~= number and value ~= value;
		end
	end);
end
for what, value in pairs {
	["a string"] = "many", ["a boolean"] = true, ["a table"] = {}, ["a function"] = print;
} do
	case("gauge: " .. what, function (registry)
		registry:gauge("g"):with_labels():set(3);
		registry:gauge("g"):with_labels():set(value);
		registry:gauge("g"):with_labels():add(value);
		return "\ng 3\n";
	end);
	case("counter: " .. what, function (registry)
		registry:counter("c"):with_labels():add(3);
		registry:counter("c"):with_labels():add(value);
		registry:counter("c"):with_labels():set(value);
		return "\nc_total 3\n";
	end);
	case("histogram: " .. what, function (registry)
		local metric = registry:histogram("h", "", "", {}, { buckets = { 1 } }):with_labels();
		metric:sample(0.5);
		metric:sample(value);
		return { '\nh_bucket{le="+Inf"} 1\n', "\nh_sum 0.5\n" };
	end);
end
case("no value at all", function (registry)
	registry:gauge("g"):with_labels():set();
	registry:gauge("g"):with_labels():add();
	registry:counter("c"):with_labels():add();
	registry:summary("s"):with_labels():sample();
	return { "\ng 0\n", "\nc_total 0\n" };
end);
case("numbers as text", function (registry)
	registry:gauge("g"):with_labels():set("5");
	registry:counter("c"):with_labels():add("0x10");
	return { "\ng 5\n", "\nc_total 16\n" };
end);
for what, step in pairs { ["a negative step"] = -1, ["NaN"] = nan, ["infinity"] = 1/0, ["minus infinity"] = -1/0 } do
	case("counter: " .. what, function (registry)
		local metric = registry:counter("c"):with_labels();
		metric:add(3);
		metric:add(step);
		metric:set(step);
		return "\nc_total 3\n";
	end);
end
case("counter: steps beyond all numbers", function (registry)
	for _ = 1, 3 do
		registry:counter("c"):with_labels():add(1.7e308);
	end
	return "\nc_total 1.7e+308\n";
end);
case("counter: a reset moves the creation time", function (registry)
	local family = registry:counter("c");
	family:with_labels():add(3);
	local before = family.data._created;
	family:with_labels():reset();
	local middle = family.data._created;
	family:with_labels():set(5);
	family:with_labels():set(2);
	return function () return middle > before and family.data._created > middle; end
end);
case("the creation time comes after the value", function (registry)
	registry:counter("c"):with_labels():add(3);
	return function (page) return page:find("c_total", 1, true) < page:find("c_created", 1, true); end
end);
for what, value in pairs { ["NaN"] = nan, ["infinity"] = 1/0, ["minus infinity"] = -1/0, ["a negative value"] = -5 } do
	case("histogram: " .. what, function (registry)
		registry:histogram("h", "", "", {}, { buckets = { 1 } }):with_labels():sample(value);
		return '\nh_bucket{le="+Inf"} ' .. (value ~= value and "0\n" or "1\n");
	end);
	case("summary: " .. what, function (registry)
		registry:summary("s"):with_labels():sample(value);
	end);
end
case("histogram: both infinities", function (registry)
	local metric = registry:histogram("h", "", "", {}, { buckets = { 1 } }):with_labels();
	metric:sample(1/0);
	metric:sample(-1/0);
	return '\nh_bucket{le="1"} 1\n';
end);

-- Buckets

for what, buckets in pairs {
	["unsorted"] = { 10, 1, 5 };
	["twice the same"] = { 1, 1, 5 };
	["with NaN"] = { 1, nan, 5 };
	["with infinity"] = { 1, 1/0 };
	["with minus infinity"] = { -1/0, 1 };
	["with both zeros"] = { -0.0, 0.0, 1 };
	["equal in 14 digits"] = { 0.3, 0.1 + 0.2, 1 };
	["with a string"] = { 1, "x", 5 };
	["with what raises"] = { 1, setmetatable({}, { __tostring = error, __lt = error, __unm = error }), 5 };
	["with a number as text"] = { "1", "5" };
	["below zero"] = { -5, 1 };
	["none"] = {};
} do
	case("buckets: " .. what, function (registry)
		local metric = registry:histogram("h", "", "", {}, { buckets = buckets }):with_labels();
		metric:sample(0.5);
		metric:sample(7);
		return '\nh_bucket{le="+Inf"} 2\n';
	end);
end
case("buckets: one list for two histograms", function (registry)
	local buckets = { 1, 5 };
	registry:histogram("a", "", "", {}, { buckets = buckets }):with_labels():sample(2);
	registry:histogram("b", "", "", {}, { buckets = buckets }):with_labels():sample(2);
	return '\nb_bucket{le="+Inf"} 1\n';
end);

-- What happens at the same time

case("metrics made while they are walked", function (registry)
	local family = registry:counter("c", "", "", { "a" });
	family:with_labels("0");
	local n = 0;
	for _, metric in family:iter_metrics() do
		n = n + 1;
		metric:add(1);
		if n < 100 then
			family:with_labels(tostring(n)):add(1);
		end
	end
	return 'c_total{a="0"} 1\n';
end);
case("a family that is replaced while it is walked", function (registry)
	local family = registry:counter("c", "", "", { "a" });
	for i = 1, 10 do
		family:with_labels(tostring(i)):add(i);
	end
	for _, metric in family:iter_metrics() do
		registry:gauge("c", "", "", { "b" }):with_labels("x"):set(4711);
		metric:add(1);
	end
	return 'c{b="x"} 4711\n';
end);
case("the same page twice", function (registry)
	local family = registry:gauge("g", "", "", { "a", "b", "c" });
	for i = 1, 50 do
		family:with_labels("x" .. i, "y", "z" .. i % 7):set(i);
	end
	local first = registry:render();
	for i = 51, 60 do
		family:with_labels("x" .. i, "y", "z"):set(i);
	end
	return function (page)
		-- What was there keeps its order.
		local position = 0;
		for line in first:gmatch("[^\n]+") do
			if line ~= "# EOF" then
				local at = page:find(line .. "\n", 1, true);
				if not at or at < position then
					return false;
				end
				position = at;
			end
		end
		return true;
	end
end);

return cases;
