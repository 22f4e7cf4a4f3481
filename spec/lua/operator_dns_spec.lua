-- DNS lookups of Prosody 0.12, with its own resolver and with one that is as lua-unbound's.

local events = require "util.events";

-- A resolver that answers each question with what it was asked.
local function lookup(self, handler, ...)
	assert(self);
	handler({ ... }, "no error");
	return "id", select("#", ...);
end

local kinds = {
	["a resolver of many"] = function ()
		local methods = { lookup = lookup };
		return function () return setmetatable({}, { __index = methods }); end;
	end;
	["the only resolver"] = function ()
		local resolver = { lookup = lookup };
		return function () return resolver; end;
	end;
};

local function measured(new_resolver, register)
	local stats = assert(require "metre".new { self_metrics = false, process_metrics = false });
	if register then
		stats.metric_registry:histogram("prosody_dns", "seconds", "", { "qclass", "qtype" }, { buckets = { 1 } });
	end
	local pack = require "metre.operator.pack".new({ hosts = {}, events = events.new() }, { operator = {}, fault = error }, stats);
	local old = package.loaded["net.adns"];
	package.loaded["net.adns"] = { resolver = new_resolver };
	require "metre.operator.dns"(pack);
	package.loaded["net.adns"] = old;
	return function ()
		local found = {};
		local family = stats.metric_registry:get_metric_families().prosody_dns_seconds;
		for values, metric in (family and family:iter_metrics() or function () end) do
			for suffix, _, value in metric:iter_samples() do
				if suffix == "_count" then
					found[table.concat(values, " ")] = value;
				end
			end
		end
		return found;
	end;
end

for kind, make in pairs(kinds) do
	describe("lookups with " .. kind, function ()
		it("are measured by type", function ()
			local new_resolver = make();
			local counts = measured(new_resolver);
			for _, qtype in ipairs { "A", "A", "AAAA", "SRV", "TLSA", "made-up" } do
				new_resolver():lookup(function () end, "example.org", qtype, "IN");
			end
			new_resolver():lookup(function () end, "example.org");
			new_resolver():lookup(function () end, "example.org", "TXT", "CH");
			assert.same({ ["IN A"] = 3; ["IN AAAA"] = 1; ["IN SRV"] = 1; ["IN other"] = 2 }, counts());
		end);

		it("are as they were", function ()
			local new_resolver = make();
			measured(new_resolver);
			local heard;
			local id, count = new_resolver():lookup(function (...) heard = { ... }; end, "example.org", "A", "IN");
			assert.same({ "id", 3 }, { id, count });
			assert.same({ { "example.org", "A", "IN" }, "no error" }, heard);
			local mistake = {};
			local ok, err = pcall(new_resolver().lookup, new_resolver(), function () error(mistake); end, "example.org", "A", "IN");
			assert.is_false(ok);
			assert.equal(mistake, err);
		end);

		it("are left to Prosody if it measures them itself", function ()
			local new_resolver = make();
			local counts = measured(new_resolver, true);
			assert.equal(lookup, new_resolver().lookup);
			assert.same({}, counts());
		end);
	end);
end
