-- Metrics that metre has of itself and of the process: on the page, and out of everybody's way.

local pages = require "support.pages";
local providers = require "support.providers";

describe("metre's own metrics", function ()
	it("are on the page, and not among the registry's families", function ()
		local registry = require "metre".new().metric_registry;
		registry:counter("c", "", "", { "a" }):with_labels("x"):add(1);
		local page = registry:render();
		pages.assert_valid(page);
		local samples = pages.samples(page);
		for _, type_ in ipairs { "gauge", "counter", "histogram", "summary" } do
			local _, families = page:gsub("# TYPE [^ ]+ " .. type_ .. "\n", "");
			assert.equal(families, samples['metre_families{type="' .. type_ .. '"}'], type_);
		end
		-- One of the module's, one of the process's, five reasons for a refusal of values and three for one of families.
		assert.equal(10, samples['metre_series{type="counter"}']);
		assert.is_true(samples.process_resident_memory_bytes > 1000000);
		assert.is_true(samples.process_cpu_seconds_total > 0);
		local version = _G.jit and "jit" or _VERSION:match("%d.%d");
		assert.truthy(page:find('metre_build_info{version="%d+%.%d+%.%d+",lua="' .. version .. '"} 1\n'));
		-- There is no thread that could ask the event loop.
		assert.is_nil(page:find("event_loop", 1, true));
		for name in pairs(registry:get_metric_families()) do
			assert.equal("c", name);
		end
	end);

	it("count what is refused", function ()
		local registry = require "metre".new().metric_registry;
		local counter = registry:counter("c");
		local histogram = registry:histogram("h", "", "", {}, { buckets = { 1 } });
		providers.logged_by(function ()
			for _ = 1, 3 do
				counter:with_labels():add(-1);
			end
			counter:with_labels():add(1/0);
			counter:with_labels():add({});
			histogram:with_labels():sample(0/0);
			counter.data.value = 5;
			histogram.data[1].count = 5;
		end);
		local samples = pages.samples(registry:render());
		for reason, count in pairs { negative = 3, infinite = 1, not_a_number = 1, nan = 1, read_only = 2 } do
			assert.equal(count, samples['metre_refused_values_total{reason="' .. reason .. '"}'], reason);
		end
	end);

	it("give way to a module's", function ()
		local registry = require "metre".new().metric_registry;
		registry:counter("process_cpu", "seconds", "Ours"):with_labels():set(7);
		registry:gauge("metre.families", "", "", { "x" }):with_labels("y"):set(8);
		local page = registry:render();
		pages.assert_valid(page);
		local samples = pages.samples(page);
		assert.equal(7, samples.process_cpu_seconds_total);
		assert.equal(8, samples['metre_families{x="y"}']);
		assert.is_nil(samples['metre_families{type="gauge"}']);
		assert.truthy(samples['metre_series{type="gauge"}']);
	end);

	it("can be switched off, one and all", function ()
		local function names(config)
			local found = {};
			for series in pairs(pages.samples(require "metre".new(config).metric_registry:render())) do
				found[series:match("^%a+")] = true;
			end
			return found;
		end
		assert.same({ metre = true, process = true }, names());
		assert.same({ metre = true }, names({ process_metrics = false }));
		assert.same({ process = true }, names({ self_metrics = false }));
		assert.same({}, names({ self_metrics = false, process_metrics = false }));
		assert.same({}, names({ self_metrics = false, process_metrics = false, exporter = "127.0.0.1:1", statsd = "localhost" }));
	end);
end);
