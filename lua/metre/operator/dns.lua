-- How long DNS lookups take, on Prosody 0.12: later ones measure it themselves, under the same name.

local name = "prosody_dns_seconds";

local qtypes = { A = "A", AAAA = "AAAA", SRV = "SRV" };

return function (pack)
	if pack.registry.families.prosody_dns_seconds then
		return;
	end
	-- All resolvers have the methods of this one; with lua-unbound it is the only one.
	local resolver = require "net.adns".resolver();
	local methods = rawget(resolver, "lookup") and resolver or getmetatable(resolver).__index;
	local original = methods.lookup;

	local durations = {};
	local measure = pack:guard("dns", function (began, qtype, qclass)
		if qclass == nil or qclass == "IN" then
			qtype = qtypes[qtype or "A"] or "other";
			local duration = durations[qtype];
			if not duration and pack:has_room(name, true) then
				duration = pack:metric(name, "IN", qtype);
				durations[qtype] = duration;
			end
			if duration then
				duration:sample(pack.now() - began);
			end
		end
	end);

	function methods:lookup(handler, qname, qtype, qclass, ...)
		local began = pack.now();
		return original(self, function (...)
			measure(began, qtype, qclass);
			return handler(...);
		end, qname, qtype, qclass, ...);
	end
end;
