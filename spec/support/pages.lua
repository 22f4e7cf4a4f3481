-- Pages: checked by a strict parser that isn't ours, and taken apart.

local pages = {};

-- Checks many pages at once. Returns a list with false for each good page and what is wrong with each other one. With
-- parser_only nothing but the parser judges, not the order of what is on the page.
function pages.check(list, parser_only)
	local name = os.tmpname();
	local file = assert(io.open(name, "wb"));
	for _, page in ipairs(list) do
		file:write(#page, "\n", page);
	end
	file:close();
	local checker = os.getenv("METRE_ROOT") .. "/spec/support/check_pages.py";
	local results = {};
	local output = assert(io.popen("/usr/bin/python3 " .. checker .. (parser_only and " --parser-only " or " ") .. name));
	for line in output:lines() do
		table.insert(results, line ~= "ok" and line);
	end
	output:close();
	os.remove(name);
	assert(#results == #list, "the checker looked at " .. #results .. " pages of " .. #list);
	return results;
end

function pages.assert_valid(page)
	local problem = pages.check({ page })[1];
	if problem then
		error(problem .. "\n" .. page, 2);
	end
end

-- The samples of a page: "name{labels}" → number. Creation times are left out.
function pages.samples(page)
	local samples = {};
	for line in page:gmatch("[^\n]+") do
		local series, value = line:match("^([^#].*) (%S+)$");
		if series and not series:match("^[^{]*_created") then
			assert(samples[series] == nil, "twice on the page: " .. series);
			samples[series] = assert(tonumber((value:gsub("Inf", "inf"):gsub("^%+", ""))) or value);
		end
	end
	return samples;
end

return pages;
