-- Makes Prosody's own libraries, the oracle, available on every Lua version, also to benchmarks.

package.path = package.path .. ";/usr/lib/prosody/?.lua";

if _VERSION == "Lua 5.4" then
	package.cpath = package.cpath .. ";/usr/lib/prosody/?.so";
else
	-- Debian builds the parts of Prosody that are in C for Lua 5.4 alone. This is what util.statistics and util.logger
	-- need of them.
	package.preload["util.time"] = function ()
		return { now = os.time, monotonic = os.clock };
	end
	package.preload["util.table"] = function ()
		return {
			pack = function (...)
				return { n = select("#", ...), ... };
			end;
		};
	end
	package.preload["util.format"] = function ()
		return { format = string.format };
	end
end
