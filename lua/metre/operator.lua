-- The operator pack: metrics that answer what people ask who run Prosody.
--
-- Everything is hooked when Prosody starts its hosts, before anything of a host is opened. Each file in operator/ is
-- about one question or source; families.lua lists what they measure.

local lifecycle = require "metre.lifecycle";

local sources = {
	"logins";
	"process";
	"sessions";
	"streams";
	"storage";
	"messages";
	"users";
	"stanzas";
	"processing";
	"logs";
	"modules";
	"muc";
	"registrations";
	"push";
	"traffic";
	"s2s";
	"dns";
	"certificates";
};

-- Before Prosody's own handlers: its hosts are made at 0 of server-starting; storage, users and modules come at 101, 100
-- and 0 of host-activated.
local before_all = 1000;

-- For Prosody itself. provider: the native one; stats: what Prosody has got of metre.
local function attach(provider, stats)
	local prosody = rawget(_G, "prosody");
	-- Loaded by now: there may be no descriptor for that when it is needed.
	local loaded = {};
	for i, name in ipairs(sources) do
		loaded[i] = require("metre.operator." .. name);
	end
	local pack = require "metre.operator.pack".new(prosody, provider, stats);
	local function hook(event, f, priority)
		prosody.events.add_handler(event, lifecycle.protected(f), priority);
	end
	hook("server-starting", function ()
		for i, name in ipairs(sources) do
			local ok, err = pcall(loaded[i], pack);
			if not ok then
				pack:fault(name, err);
			end
		end
	end, before_all);
	hook("host-activated", function (host)
		pack:add_host(host);
	end, before_all);
	hook("host-deactivated", function (host)
		pack:remove_host(host);
	end, -before_all);
	hook("stats-update", function ()
		pack:collect();
	end);
end

return {
	attach = attach;
	sources = sources;
};
