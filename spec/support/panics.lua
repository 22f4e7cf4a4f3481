-- Makes each native function panic twice, one after the other, with a module that was built with the feature "panics", and calls
-- it as modules and Prosody do. Returns a function that returns a list of: place; counted, how many panics the page tells of; raised,
-- if anything was.

local function calls(native, metre)
	local stats = metre.new { self_metrics = true };
	local registry = stats.metric_registry;
	local gauge = registry:gauge("panic_gauge", nil, "", { "a", "b" });
	local counter = registry:counter("panic_counter");
	local histogram = registry:histogram("panic_histogram", nil, "", {}, { buckets = { 1, 2 } });
	local summary = registry:summary("panic_summary");
	local held = { gauge = gauge:with_labels("x", "y"), counter = counter:with_labels() };
	held.histogram, held.summary = histogram:with_labels(), summary:with_labels();
	local bucket = histogram.data[1];
	local provider = stats._native;
	local number = 0;

	local function another()
		number = number + 1;
		return "panic_" .. number;
	end
	local function use(family)
		local metric = family:with_labels();
		if metric.add then
			metric:add(1);
		end
		for _ in family:iter_metrics() do end
		family:clear();
	end
	local function all(iterator, state, first)
		for _ in iterator, state, first do end
	end

	local pairs_meta = _VERSION ~= "Lua 5.1";
	local list = {
		{ "with_labels", function () gauge:with_labels("new", another()):set(1); end };
		{ "with_labels_of", function () use(registry:counter(another())); end };
		{ "get_of", function () registry:counter(another(), nil, "", { "a" }).data:get("x"); end };
		{ "metric", function () use(registry:counter(another())); end };
		{ "register", function () use(registry:counter(another())); end };
		{ "prefix", function () gauge:with_partial_label("x"):with_labels("y"):set(1); end };
		{ "get", function () gauge.data:get("x", "y"); end };
		{ "set", function () held.gauge:set(1); end };
		{ "add", function () held.counter:add(1); end };
		{ "add", function () held.gauge:add(1); end };
		{ "sample", function () held.histogram:sample(1); end };
		{ "sample", function () held.summary:sample(1); end };
		{ "stopwatch", function () assert(native.stop_of(held.histogram)(native.now(), 7) == 7); end };
		{ "reset", function () held.counter:reset(); end };
		{ "notice", function () held.counter:add(-1 - number); end };
		{ "metric.__index", function () return counter.data.value; end };
		{ "metric.__newindex", function () counter.data.value = 1; end };
		{ "metric.__pairs", function () all(pairs(counter.data)); end, skip = not pairs_meta };
		{ "metric.__len", function () return #histogram.data; end, skip = not pairs_meta };
		{ "bucket.__index", function () return bucket.count; end };
		{ "bucket.__pairs", function () all(pairs(bucket)); end, skip = not pairs_meta };
		{ "iter_samples.next", function () all(held.histogram:iter_samples()); end };
		{ "iter_metrics.next", function () all(gauge:iter_metrics()); end };
		{ "clear", function () gauge:clear(); end };
		{ "expire", function () native.expire(gauge._native); end };
		{ "forget", function () assert(native.forget(gauge._native, 1, "x") == 0); end };
		{ "cork", function () stats:cork(); end };
		{ "uncork", function () stats:uncork(); end };
		{ "discard", function () provider.discard(); end };
		{ "render", function () assert(registry:render() == "# EOF\n"); end };
		{ "explain", function () registry:explain("panic_gauge"); end };
		{ "new", function () assert(metre.new() == nil); end };
		{ "check", function () native.check({}, false); end };
		{ "start", function () provider.start(); end };
		{ "is_running", function () provider.is_running(); end };
		{ "flush", function () assert(not stats:flush()); end };
		{ "watched", function () provider.watched(false); end };
		{ "answer", function () provider.answer(); end };
		{ "collected", function () provider.collected(true); end };
		{ "fault", function () provider.fault("what"); end };
		{ "notices", function () stats:uncork(); end };
		{ "stop", function () stats:close(); end };
		{ "skip", function () provider.skip(1); end };
		{ "__gc", function ()
			registry.families[registry:counter(another()).family_name] = nil;
			collectgarbage();
			collectgarbage();
		end };
	};
	return list, registry;
end

-- How many faults the page tells, by place.
local function told(registry)
	local counts = {};
	for place, count in registry:render():gmatch("metre_internal_errors_total{at=\"([^\"]+)\"} (%d+)") do
		counts[place] = tonumber(count);
	end
	return counts;
end

return function (native, metre)
	local results, list, registry = {}, calls(native, metre);
	for _, case in ipairs(list) do
		local place, call = case[1], case[2];
		if not case.skip then
			local before = told(registry)[place] or 0;
			local raised;
			for _ = 1, 2 do
				native.panic_at(place);
				local ok, err = pcall(call);
				native.panic_at(nil);
				raised = raised or not ok and tostring(err) or nil;
			end
			table.insert(results, { place = place, counted = (told(registry)[place] or 0) - before, raised = raised });
		end
	end
	-- What has panicked works again.
	assert(registry:counter("panic_counter"):with_labels():add(1) == nil);
	return results, registry;
end
