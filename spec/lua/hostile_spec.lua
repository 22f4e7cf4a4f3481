-- No input may raise, or make a page that a scraper refuses.

local cases = require "support.hostile_cases";
local pages = require "support.pages";
local providers = require "support.providers";
local new_random = require "support.random";

-- A registry that gets its units and descriptions as core.statsmanager passes them, so that Prosody's own doesn't fail
-- for what it never sees.
local function as_statsmanager(registry)
	local wrapper = setmetatable({}, { __index = registry });
	for _, kind in ipairs { "gauge", "counter", "histogram", "summary" } do
		wrapper[kind] = function (_, name, unit, description, ...)
			return registry[kind](registry, name, unit or "", description or "", ...);
		end
	end
	return wrapper;
end

-- Runs all cases through a provider. Returns a list with false for each good one and what is wrong with each other one.
local function run_all(name)
	local results, rendered = {}, {};
	for i, case in ipairs(cases) do
		-- Long label values are a case, too.
		local registry = providers[name] { limits = { max_label_bytes = 100000 } };
		if name == "prosody" then
			registry = as_statsmanager(registry);
		end
		local ok, expected = pcall(case.run, registry);
		local page_ok, page = pcall(registry.render, registry);
		rendered[i] = page_ok and page or "";
		if not ok then
			results[i] = "raises: " .. tostring(expected);
		elseif not page_ok then
			results[i] = "render raises: " .. tostring(page);
		elseif type(expected) == "function" then
			local checked, right = pcall(expected, page);
			results[i] = not (checked and right) and "the page is wrong: " .. page;
		else
			for _, text in ipairs(type(expected) == "table" and expected or { expected }) do
				if not ("\n" .. page):find(text, 1, true) then
					results[i] = "not on the page: " .. text .. "\n" .. page;
				end
			end
			results[i] = results[i] or false;
		end
	end
	for i, problem in ipairs(pages.check(rendered, name == "prosody")) do
		results[i] = results[i] or problem;
	end
	return results;
end

it("no case harms metre", function ()
	for i, problem in ipairs(run_all("metre")) do
		assert.is_false(problem, cases[i].name);
	end
	local failed = 0;
	for _, problem in ipairs(run_all("prosody")) do
		failed = failed + (problem and 1 or 0);
	end
	print(("hostile: %d cases, of which Prosody's own provider fails %d"):format(#cases, failed));
end);

describe("what is repaired", function ()
	local function warnings(f)
		local registry = providers.metre();
		local result = {};
		for _, line in ipairs(providers.logged_by(function () f(registry); end)) do
			table.insert(result, line:match("^warn: (.*)"));
		end
		return result;
	end

	it("is logged once a metric", function ()
		local lines = warnings(function (registry)
			local family = registry:counter("hits", "", "", { "a" });
			for i = 1, 100 do
				family:with_labels("x"):add(-i);
				family:with_labels("y"):add("many");
			end
		end);
		assert.same({ "Metric hits: add -1 is negative, and a counter only grows; "
			.. "ignored or repaired, and not logged again for this metric" }, lines);
	end);

	it("names the metric and the remedy", function ()
		local lines = warnings(function (registry)
			registry:gauge("a.b");
			registry:gauge("a_b", true, {}, { 5, {} });
		end);
		assert.same({ "Metric family a_b: its unit is a boolean and is left out; its description is a table and is left out; "
			.. "its label key 2 is a table; another metric uses its name on the page, where it is called a_b_2" }, lines);
	end);

	it("is told for labels, buckets, texts and negative samples", function ()
		local lines = warnings(function (registry)
			registry:counter("labels", "", "", { "a" }):with_labels("\255"):add(1);
			registry:gauge("keys", "", "", { "a", "a" });
			registry:gauge("help", "", "\255");
			registry:histogram("equal", "", "", {}, { buckets = { 1, 1 } });
			registry:summary("below"):with_labels():sample(-5);
			registry:gauge("field").data.value = 5;
			registry:gauge("missing"):with_labels():set();
			registry:gauge("missing2").data:set();
		end);
		local end_of_line = "; ignored or repaired, and not logged again for this metric";
		assert.same({
			"Metric labels: a label value is not valid UTF-8" .. end_of_line,
			"Metric family keys: its label key 2 is called a_2 on the page",
			"Metric family help: its description is not valid UTF-8",
			"Metric family equal: its buckets are put in order, without what can't be one",
			"Metric below: sample -5 is negative, so the page no longer has its sum; a reset brings it back",
			"Metric field: value 5 can't be assigned to a field; use set() or sample()" .. end_of_line,
			"Metric missing: set nil is not a number" .. end_of_line,
			"Metric missing2: set nil is not a number" .. end_of_line,
		}, lines);
	end);

	it("is silent when all is well", function ()
		assert.same({}, warnings(function (registry)
			local family = registry:histogram("h", "seconds", "Help", { "host" }, { buckets = { 1, 2, 3 } });
			family:with_labels("localhost"):sample(1.5);
			registry:render();
		end));
	end);

	it("does not raise when the logger does", function ()
		local native = require "metre.native";
		local registry = providers.metre();
		native.on_notice(function () error("the disk is full"); end);
		registry:counter("c"):with_labels():add(-1);
		native.on_notice(nil);
		registry:counter("d"):with_labels():add(-1);
		assert.truthy(registry:render():find("c_total 0\n", 1, true));
	end);
end);

-- Every kind of argument, self and order.
it("garbage in every call makes no crash and no bad page", function ()
	local garbage = {
		0, -1, 1.5, 1/0, 0/0, "", "x", "\255\n\"", ("y"):rep(300), true, false, {}, { 1 }, { "a", "a" }, print,
		coroutine.create(function () end), io.stdout, setmetatable({}, { __tostring = error }), { buckets = { 3, 1, 0/0 } },
	};
	local methods = {
		"gauge", "counter", "histogram", "summary", "with_labels", "with_partial_label", "iter_metrics", "clear", "set",
		"add", "sample", "reset", "iter_samples", "get", "value", "_created", "_sum", "_count", 1, 2, "label_keys", "data",
	};
	local rendered = {};
	for seed = 1, 60 do
		local random = new_random(seed + 1000);
		local registry = providers.metre();
		local objects = { registry };
		for _ = 1, 400 do
			local object, method = random:pick(objects), random:pick(methods);
			local found, member = pcall(function () return object[method]; end);
			if found and type(member) == "function" then
				local arguments = {};
				for i = 1, 5 do
					arguments[i] = random:below(3) > 0 and random:pick(garbage) or nil;
				end
				local self = random:below(10) == 0 and random:pick(garbage) or object;
				local results = { pcall(member, self, arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]) };
				if not results[1] then
					-- What modules see of an error is a string. io.stdout and print have errors of their own.
					assert.equal("string", type(results[2]));
				end
				for i = 2, 3 do
					if type(results[i]) == "table" or type(results[i]) == "userdata" then
						table.insert(objects, results[i]);
					end
				end
			end
			if random:below(50) == 0 then
				collectgarbage();
			end
		end
		table.insert(rendered, registry:render());
	end
	for i, problem in ipairs(pages.check(rendered)) do
		assert.is_false(problem, "page of seed " .. i);
	end
	print(("garbage: %d sequences of 400 calls, as many pages"):format(#rendered));
end);
