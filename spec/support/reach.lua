-- Tries to get at memory that is no longer there: with metrics that outlive their family, functions that outlive their metric, the
-- wrong objects, finalizers that run in the middle of a call, and a state that is closing. To be run where such an access is
-- seen: under valgrind, or with the address sanitizer. Prints "fine" at the end.

-- What is logged on the way doesn't matter.
package.preload["util.logger"] = function ()
	return { init = function () return function () end; end };
end

math.randomseed(tonumber(arg and arg[1]) or 1);

local function new()
	local config = { limits = { max_series_per_family = 2000 }, rule = { { match = "leased*", idle_ttl = "1h" } } };
	config.rule[1].type = { "gauge", "counter", "histogram", "summary" };
	return assert(require "metre".new(config));
end

local function finalized(f)
	if _VERSION == "Lua 5.1" then
		local proxy = newproxy(true); -- luacheck: ignore 113
		getmetatable(proxy).__gc = f;
		return proxy;
	end
	return setmetatable({}, { __gc = f });
end

local kinds = { "gauge", "counter", "histogram", "summary" };
local updates = { gauge = "add", counter = "add", histogram = "sample", summary = "sample" };

local function register(registry, kind, name, keys)
	return registry[kind](registry, name, "", "", keys or { "a", "b" }, { buckets = { 1, 2, 3 } });
end

-- All that can be done to a family or with a metric. What it raises doesn't matter, as long as it is a string.
local function tolerant(f, ...)
	local ok, err = pcall(f, ...);
	assert(ok or type(err) == "string", type(err));
end

local function use(family, metric, kind)
	tolerant(function () metric[updates[kind]](metric, 1); end);
	tolerant(function () metric:reset(); end);
	tolerant(function () for _ in metric:iter_samples() do end end); -- luacheck: ignore 542
	tolerant(function () return metric.value, metric._sum, metric[1] and metric[1].count, #metric; end);
	tolerant(function () metric.value = 1; end);
	tolerant(function () for _ in pairs(metric) do end end); -- luacheck: ignore 542
	tolerant(function () family:with_labels("x", "y"); end);
	tolerant(function () family:with_partial_label("x"):with_labels("z"); end);
	tolerant(function () family.data:get("x", "y"); end);
	tolerant(function () for _, m in family:iter_metrics() do m:reset(); end end);
	tolerant(function () family:clear(); end);
end

-- BEGIN of objects that outlive what they belong to

local function outlived()
	for _, kind in ipairs(kinds) do
		for _, prefix in ipairs { "", "leased_" } do
			local stats = new();
			local registry = stats.metric_registry;
			local family = register(registry, kind, prefix .. "f");
			local metric = family:with_labels("x", "y");
			local method, with_labels = metric[updates[kind]], family.with_labels;
			local view = family.data:get("x", "y");
			local iterator = family:iter_metrics();
			local samples, of = metric:iter_samples();
			-- Replaced, and then everything of it gone but one thing.
			local replaced = family;
			register(registry, kind, prefix .. "f", { "c", "d" });
			use(replaced, metric, kind);
			family, replaced, registry, stats = nil, nil, nil, nil; -- luacheck: ignore 311
			collectgarbage();
			collectgarbage();
			for _ = 1, 50 do
				tolerant(method, metric, 1);
				tolerant(with_labels, nil, "x", "y");
			end
			tolerant(method, {}, 1);
			tolerant(method, view, 1);
			tolerant(iterator);
			tolerant(samples, of);
			metric, with_labels, view, iterator, samples, of = nil, nil, nil, nil, nil, nil; -- luacheck: ignore 311
			collectgarbage();
			collectgarbage();
			-- Nobody has its metric any more, so no table can be that, wherever it lies.
			for i = 1, 200 do
				assert(not pcall(method, { i }, 1));
			end
		end
	end
end

-- Label values that come several times and go; others may lie where they lay.
local function short_lived()
	local family = register(new().metric_registry, "counter", "f");
	for round = 1, 100 do
		for i = 1, 4 do
			local first, second = "first" .. round % 7 .. i, "x";
			for _ = 1, 4 do
				family:with_labels(first, second):add(1);
			end
		end
		collectgarbage();
		local others = {};
		for i = 1, 50 do
			others[i] = "other" .. round .. "_" .. i;
			family:with_labels(others[i], "x"):add(1);
		end
	end
	local total = 0;
	for labels, metric in family:iter_metrics() do
		assert(metric.value == (labels[1]:match("^other") and 1 or metric.value), labels[1]);
		total = total + (labels[1]:match("^other") and 1 or 0);
	end
	assert(total > 1000);
end

-- END of objects that outlive what they belong to
-- BEGIN of wrong objects

local function wrong()
	local registry = new().metric_registry;
	local others = { 1, "x", false, {}, print, io.stdout, coroutine.create(function () end), registry, setmetatable({}, { __index = error }) };
	local metrics = {};
	for _, kind in ipairs(kinds) do
		for _, prefix in ipairs { "", "leased_" } do
			local family = register(registry, kind, prefix .. kind);
			local metric = family:with_labels("x", "y");
			table.insert(metrics, { family = family, metric = metric, kind = kind });
			table.insert(others, metric);
			table.insert(others, family);
			table.insert(others, family.data:get("x", "y"));
			table.insert(others, (debug.getmetatable(metric)));
			-- What a metric is made of: hidden keys and handles, as far as they can be seen.
			if type(metric) == "table" then
				for key, value in next, metric do
					table.insert(others, key);
					table.insert(others, value);
				end
			end
		end
	end
	for _, of in ipairs(metrics) do
		local methods = { of.metric.add, of.metric.set, of.metric.sample, of.metric.reset, of.metric.iter_samples };
		for i = 1, 5 do
			for j = 1, #others do
				if methods[i] then
					tolerant(methods[i], others[j], 1);
					tolerant(methods[i], others[j], others[j]);
				end
			end
			if methods[i] then
				tolerant(methods[i]);
			end
		end
		for j = 1, #others do
			tolerant(of.family.with_labels, others[j], others[j], others[j]);
			tolerant(of.family.with_partial_label, others[j], others[j]);
		end
	end
	-- Foreign userdata with our metatables.
	local stdout = debug.getmetatable(io.stdout);
	for _, of in ipairs(metrics) do
		local file = io.tmpfile();
		debug.setmetatable(file, debug.getmetatable(of.metric));
		use(of.family, file, of.kind);
		debug.setmetatable(file, stdout);
		file:close();
	end
end

-- What iterators are given as the last key.
local function wrong_keys()
	local registry = new().metric_registry;
	for _, kind in ipairs(kinds) do
		local view = register(registry, kind, kind, {}).data;
		for _, iterate in ipairs { pairs, ipairs } do
			local next_of, of = iterate(view);
			for _, key in ipairs { 2^31 - 2, 2^31 - 1, 2^31, 1e15, -1e15, 2^63, 0/0, 1/0, "x", {}, print } do
				tolerant(next_of, of, key);
				tolerant(next_of, view, key);
				tolerant(next_of, key, key);
			end
		end
	end
end

-- END of wrong objects
-- BEGIN of what the debug library hands out

-- The upvalues of a C function. (Lua 5.1 shows none.)
local function upvalues(f)
	local found, index = {}, 1;
	while debug.getupvalue(f, index) do
		local _, value = debug.getupvalue(f, index);
		found[index] = value;
		index = index + 1;
	end
	return found;
end

-- What has a finalizer is given anything else; what works on upvalues finds other things in the tables among them.
local function handed_out()
	local stats = new();
	local registry = stats.metric_registry;
	local others = { 1, "x", false, {}, print, io.stdout, stats._native };
	local used = {};
	for _, kind in ipairs(kinds) do
		for _, prefix in ipairs { "", "leased_" } do
			local family = register(registry, kind, prefix .. kind);
			local metric, view = family:with_labels("x", "y"), family.data:get("x", "y");
			for _ = 1, 5 do
				family:with_labels("x", "y");
			end
			local functions = { family.with_labels, family.data.get, metric[updates[kind]], (metric:iter_samples()), (family:iter_metrics()) };
			table.insert(used, { family = family, metric = metric, kind = kind, functions = functions });
			-- Hidden fields: light userdata, and handles, which are as long as a guard's sentinel or longer.
			for _, object in ipairs { view, type(metric) == "table" and metric or {} } do
				for key, value in next, object do
					table.insert(others, key);
					table.insert(others, value);
				end
			end
			table.insert(others, family._native);
			for _, f in ipairs(functions) do
				table.insert(others, f);
				for _, value in pairs(upvalues(f)) do
					table.insert(others, value);
				end
			end
		end
	end
	-- The guards of mlua's functions, and their steps.
	local calls = {};
	for _, name in ipairs { "is_running", "notices", "cork", "uncork", "render" } do
		local call = stats._native[name];
		local sentinel, step = upvalues(call)[2], upvalues(call)[3];
		if sentinel then
			table.insert(calls, { call = call, sentinel = sentinel });
			table.insert(others, sentinel);
			tolerant(step, "x");
			tolerant(step);
		end
	end
	for _, of in ipairs(calls) do
		local finalize = debug.getmetatable(of.sentinel).__gc;
		for _, other in ipairs(others) do
			if not rawequal(debug.getmetatable(other), debug.getmetatable(of.sentinel)) then
				tolerant(finalize, other);
			end
		end
		tolerant(finalize);
	end
	for _, of in ipairs(calls) do
		assert(select(2, of.call()) ~= "the Lua state is closing");
	end
	for _, of in ipairs(used) do
		use(of.family, of.metric, of.kind);
		for _, f in ipairs(of.functions) do
			for _, other in ipairs(others) do
				tolerant(f, other, other, other);
			end
		end
	end
	-- Tables that functions keep for themselves: with wrong things in them, then made small, so that they have to grow again.
	for _, of in ipairs(used) do
		for _, f in ipairs(of.functions) do
			for _, kept in pairs(upvalues(f)) do
				if type(kept) == "table" then
					local number = 0;
					for key in next, kept do
						number = number % #others + 1;
						rawset(kept, key, others[number]);
					end
					use(of.family, of.metric, of.kind);
					for key in next, kept do
						rawset(kept, key, nil);
					end
					rawset(kept, "x", 1);
					collectgarbage();
					use(of.family, of.metric, of.kind);
					use(of.family, of.metric, of.kind);
				end
			end
		end
	end
	-- Families that are finalized by hand, twice.
	for _, of in ipairs(used) do
		local finalize = debug.getmetatable(of.family._native).__gc;
		for _, other in ipairs(others) do
			if type(other) ~= "userdata" then
				tolerant(finalize, other);
			end
		end
		tolerant(finalize, of.family._native);
		tolerant(finalize, of.family._native);
		use(of.family, of.metric, of.kind);
	end
end

-- END of what the debug library hands out
-- BEGIN of finalizers in the middle of calls

-- Each metric counts what its own labels were asked for, whatever runs in between.
local function interrupted()
	local registry = new().metric_registry;
	for _, prefix in ipairs { "", "leased_" } do
		local family = register(registry, "counter", prefix .. "counted");
		local expected, busy = {}, false;
		local function count()
			local a, b = "a" .. math.random(30), ("b"):rep(math.random(3) == 1 and 60 or 1) .. math.random(3);
			local key = a .. "/" .. b;
			expected[key] = (expected[key] or 0) + 1;
			if math.random(4) == 1 then
				family:with_partial_label(a):with_labels(b):add(1);
			else
				family:with_labels(a, b):add(1);
			end
		end
		local function again()
			if busy then
				return;
			end
			busy = true;
			count();
			if math.random(20) == 1 then
				collectgarbage();
			end
			busy = false;
		end
		local odd = setmetatable({}, { __tostring = function ()
			again();
			if math.random(2) == 1 then
				error("no text");
			end
			return "text";
		end });
		collectgarbage("setpause", 100);
		collectgarbage("setstepmul", 1000);
		for i = 1, 3000 do
			finalized(again);
			count();
			if i % 10 == 0 then
				tolerant(family.with_labels, family, odd, i % 7);
			end
		end
		collectgarbage("setpause", 200);
		collectgarbage("setstepmul", 200);
		busy = true; -- what is still to be finalized counts nothing any more
		for labels, metric in family:iter_metrics() do
			local key = labels[1] .. "/" .. labels[2];
			assert(metric.value == (expected[key] or 0), key .. ": " .. tostring(metric.value) .. ", not " .. tostring(expected[key]));
			expected[key] = nil;
		end
		assert(next(expected) == nil);
	end
end

-- One object for the same labels, also if a finalizer is given it while it is being made.
local function one_object()
	local registry = new().metric_registry;
	for _, prefix in ipairs { "", "leased_" } do
		local family = register(registry, "counter", prefix .. "same", { "a" });
		local kept, current = nil, "0";
		collectgarbage("setpause", 0);
		for i = 1, 3000 do
			current, kept = tostring(i % 1500), nil;
			finalized(function () kept = kept or family:with_labels(current); end);
			local metric = family:with_labels(current);
			assert(kept == nil or rawequal(kept, metric), current);
		end
		collectgarbage("setpause", 200);
	end
end

-- END of finalizers in the middle of calls
-- BEGIN of a state that is closing

-- Objects that are still used when everything is being finalized, in whatever order.
local function closing()
	local kept = {};
	local function use_all()
		for _, of in ipairs(kept) do
			use(of.family, of.metric, of.kind);
			tolerant(of.method, of.metric, 1);
			tolerant(of.with_labels, nil, "x", "y");
			tolerant(function () of.stats.metric_registry:render(); end);
			tolerant(function () of.stats:close(); end);
		end
	end
	kept[1] = nil;
	kept.first = finalized(use_all);
	for _, kind in ipairs(kinds) do
		for _, prefix in ipairs { "", "leased_" } do
			local stats = new();
			local family = register(stats.metric_registry, kind, prefix .. "f");
			local metric = family:with_labels("x", "y");
			for _ = 1, 5 do
				family:with_labels("x", "y");
			end
			table.insert(kept, {
				stats = stats, family = family, metric = metric, kind = kind, method = metric[updates[kind]],
				with_labels = family.with_labels, finalized = finalized(use_all),
			});
		end
	end
	kept.last = finalized(use_all);
	return kept;
end

-- END of a state that is closing

outlived();
short_lived();
wrong();
wrong_keys();
handed_out();
interrupted();
one_object();
Kept = closing(); -- luacheck: ignore 111
print("fine");
