-- The other servers with which the last attempts have failed: how many, and those that fail most by name.
--
-- A name is here only as long as its server fails, and a page has no more than the operator wants.

local new_cache = require "util.cache".new;
local t_sort = table.sort;

-- Those that are remembered: those that have failed last.
local most = 500;

-- What is shown of a name, which somebody has made up, perhaps: a domain or an address, not too long.
local function is_domain(name)
	return type(name) == "string" and #name <= 253 and name:find("^[%w%-%._:%[%]\128-\255]+$") ~= nil;
end

local function is_worse(a, b)
	if a.failures ~= b.failures then
		return a.failures > b.failures;
	end
	return a.name < b.name;
end

return function (pack)
	local shown_at_most = pack.options.remotes;
	local failing = new_cache(most);
	local count = pack:metric("prosody_s2s_remotes_failing");
	count:set(0);
	local has_changed, shown = false, {};
	if shown_at_most > 0 then
		pack:reserve("prosody_s2s_remote_failing", shown_at_most);
	end

	local function show_worst()
		local all = {};
		for _, remote in failing:items() do
			all[#all + 1] = remote;
		end
		t_sort(all, is_worse);
		for _, name in ipairs(shown) do
			pack:forget("prosody_s2s_remote_failing", name);
		end
		shown = {};
		for i = 1, math.min(shown_at_most, #all) do
			local remote = all[i];
			shown[i] = remote.name;
			pack:family("prosody_s2s_remote_failing"):with_labels(remote.name, remote.cause):set(remote.failures);
		end
	end

	pack:on_collection("s2s", function ()
		if has_changed then
			has_changed = false;
			count:set(failing:count());
			if shown_at_most > 0 then
				show_worst();
			end
		end
	end);

	return {
		has_failed = function (name, cause)
			if is_domain(name) then
				local remote = failing:get(name) or { name = name; failures = 0 };
				remote.failures, remote.cause = remote.failures + 1, cause;
				failing:set(name, remote);
				has_changed = true;
			end
		end;
		has_answered = function (name)
			if failing:get(name) then
				failing:set(name, nil);
				has_changed = true;
			end
		end;
	};
end;
