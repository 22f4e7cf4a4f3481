-- What Lua keeps, and for how long.

local providers = require "support.providers";

local function kilobytes()
	providers.logged_by(function () end); -- forgets what was logged
	collectgarbage();
	collectgarbage();
	return collectgarbage("count");
end

describe("Lua memory", function ()
	it("is not held for metrics that nobody holds", function ()
		local registry = providers.metre { limits = { max_series_per_family = 100000 } };
		local family = registry:counter("c", "", "", { "user" });
		local function fill(from, to)
			for i = from, to do
				family:with_labels("user" .. i):add(1);
			end
		end
		-- The table of live handles keeps the size it has once had. 50,000 handles would be more than 2,000 kB.
		fill(1, 50000);
		local before = kilobytes();
		fill(50001, 100000);
		assert.is_true(kilobytes() - before < 1500, "grew by " .. kilobytes() - before .. " kB");
		local count = 0;
		for _ in family:iter_metrics() do
			count = count + 1;
		end
		assert.equal(100000, count);
	end);

	it("is not held for families that were replaced", function ()
		local registry = providers.metre();
		local function replace(rounds)
			for i = 1, rounds do
				local family = registry:gauge("g", "", "", { "key" .. i % 2 });
				family:with_labels("x"):set(i);
			end
		end
		replace(5000);
		local before = kilobytes();
		replace(5000);
		assert.is_true(kilobytes() - before < 50, "grew by " .. kilobytes() - before .. " kB");
	end);

	it("is held for what a module holds, which goes on working", function ()
		local registry = providers.metre { limits = { max_series_per_family = 100000 } };
		local family = registry:counter("c", "", "", { "a" });
		local handle = family:with_labels("x");
		registry:gauge("c", "", "", { "b" });
		registry.families.c:with_labels("y"):set(1);
		for _ = 1, 5 do
			kilobytes();
			handle:add(1);
		end
		assert.equal(5, family.data:get("x").value);
		family = nil; -- luacheck: ignore 311
		kilobytes();
		handle:add(1);
		local total;
		for suffix, _, value in handle:iter_samples() do
			total = suffix == "_total" and value or total;
		end
		assert.equal(6, total);
	end);

	it("grows by nothing when values are read and written", function ()
		local registry = providers.metre();
		local family = registry:histogram("h", "", "", { "a" }, { buckets = { 1, 2, 3 } });
		local handle = family:with_labels("x");
		local before = kilobytes();
		for i = 1, 20000 do
			handle:sample(i % 4);
			local view = family.data:get("x");
			assert(view._count == i);
		end
		assert.is_true(kilobytes() - before < 20);
	end);
end);
