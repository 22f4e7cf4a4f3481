-- Bytes that sessions receive and send, if the operator asks for them. As stanzas: what comes is seen before all other filters,
-- what goes after them.

local session_types = require "metre.operator.session_types";

local first, last = math.huge, -math.huge;

return function (pack)
	if not pack.options.bytes then
		return;
	end
	local filters = require "util.filters";
	local metrics = pack:all("prosody_traffic_bytes");
	local function filter_of(direction)
		local by_session = {};
		for session, metric in pairs(metrics[direction]) do
			by_session[session] = { metric = metric };
		end
		local by_type = session_types.by_type(by_session);
		local count = pack:guard("traffic", function (data, session)
			local metric = by_type[session.type].metric;
			if metric and type(data) == "string" then
				metric:add(#data);
			end
		end);
		return function (data, session)
			count(data, session);
			return data;
		end;
	end
	local received, sent = filter_of("in"), filter_of("out");
	filters.add_filter_hook(pack:guard("traffic", function (session)
		filters.add_filter(session, "bytes/in", received, first);
		filters.add_filter(session, "bytes/out", sent, last);
	end));
end;
