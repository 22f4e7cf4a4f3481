-- What the types of sessions that Prosody knows are called as the label `session`.

local sessions = {
	-- A session that was resumed keeps the filters of one that is gone.
	c2s = "c2s"; c2s_unauthed = "c2s"; c2s_unbound = "c2s"; c2s_destroyed = "c2s";
	s2sin = "s2s"; s2sin_unauthed = "s2s"; s2sout = "s2s"; s2sout_unauthed = "s2s"; s2s_destroyed = "s2s";
	component = "component"; component_unauthed = "component";
};

-- A table that has an empty one for what isn't there: that it needn't be asked for saves time for each stanza.
local function with_default(tables)
	local empty = {};
	return setmetatable(tables, { __index = function () return empty; end });
end

-- From tables by `session` one by the types of sessions, which has an empty table for all others.
local function by_type(by_session)
	local result = {};
	for type, session in pairs(sessions) do
		result[type] = by_session[session];
	end
	return with_default(result);
end

return {
	by_type = by_type;
	with_default = with_default;
};
