-- How much memory of this process is private, as Linux tells it: what the process has written to, which is its own and takes room
-- until it ends (Private_Dirty). Pages of files that were only read belong to the page cache, which gives them up when room is needed.

-- Returns bytes of private memory, and of all else that is resident.
return function ()
	local found = {};
	for line in io.lines("/proc/self/smaps_rollup") do
		local name, kilobytes = line:match("^([%w_]+):%s*(%d+) kB");
		if name then
			found[name] = kilobytes * 1024;
		end
	end
	return found.Private_Dirty, found.Rss - found.Private_Dirty;
end
