-- One process of benches/start.py: loads a provider for the first time and makes one.
--
-- Usage: lua start.lua PROVIDER. Prints lines: milliseconds of wall and of CPU time, and bytes of all that was loaded and made:
-- private ones, and those of files.

package.path = package.path .. ";/usr/lib/prosody/?.lua";
package.cpath = package.cpath .. ";/usr/lib/prosody/?.so";

local memory = require "private";
local now = require "util.time".now;
require "util.logger"; -- Prosody has both long before its statistics

local starts = {};

function starts.prosody()
	return require "util.statistics".new();
end

function starts.metre()
	return assert(require "metre".new({}));
end

local start = starts[arg[1]];
memory(); -- so that what reading takes is there
collectgarbage();
local private, files = memory();
local wall, cpu = now(), os.clock();
local provider = start();
cpu, wall = os.clock() - cpu, now() - wall;
local private_after, files_after = memory();

print("wall\t" .. wall * 1e3);
print("cpu\t" .. cpu * 1e3);
print("private\t" .. private_after - private);
print("files\t" .. files_after - files);
assert(provider.metric_registry); -- was still in use
