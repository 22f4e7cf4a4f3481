-- One process of benches/start.py: loads a provider for the first time and makes one.
--
-- Usage: lua start.lua PROVIDER. Prints lines: milliseconds of wall and of CPU time, resident bytes of all that was loaded and
-- made, and of the native module alone: what is of its file, and what was written to (relocations, data).

package.path = package.path .. ";/usr/lib/prosody/?.lua";
package.cpath = package.cpath .. ";/usr/lib/prosody/?.so";

local resident = require "resident";
local now = require "util.time".now;
require "util.logger"; -- Prosody has both long before its statistics

local native = "metre_lua54.so";
local starts = {};

function starts.prosody()
	return require "util.statistics".new();
end

function starts.metre()
	return assert(require "metre".new({}));
end

local start = starts[arg[1]];
resident.bytes("Rss"); -- so that what reading takes is there
collectgarbage();
local before = resident.bytes("Rss");
local wall, cpu = now(), os.clock();
local provider = start();
cpu, wall = os.clock() - cpu, now() - wall;
local after = resident.bytes("Rss");

print("wall\t" .. wall * 1e3);
print("cpu\t" .. cpu * 1e3);
print("resident\t" .. after - before);
local written = resident.bytes("Anonymous", native);
print("file\t" .. resident.bytes("Rss", native) - written);
print("written\t" .. written);
assert(provider.metric_registry); -- was still in use
