-- How much memory this process has resident, in bytes, as Linux tells it.

local resident = {};

-- The sum of a field ("Rss", "Anonymous") of all mappings, or of those of the file whose name is given.
function resident.bytes(field, file)
	local sum, counts = 0, not file;
	for line in io.lines(file and "/proc/self/smaps" or "/proc/self/smaps_rollup") do
		local name, kilobytes = line:match("^(%w+):%s*(%d+) kB");
		if name == field and counts then
			sum = sum + tonumber(kilobytes) * 1024;
		elseif file and line:match("^%x+%-%x+ ") then
			counts = line:sub(-#file - 1) == "/" .. file;
		end
	end
	return sum;
end

return resident;
