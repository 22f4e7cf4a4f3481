-- What the operator's rules decide for a family, and where.

-- The family of this name, as a module has given it or as it stands on the page.
local function find(families, name)
	if families[name] then
		return families[name];
	end
	for raw, family in pairs(families) do
		if raw:gsub("/", "__"):gsub("[^%w_]", "_") == name then
			return family;
		end
	end
end

return function (registry, name, kind, host)
	local family = type(name) == "string" and find(registry.families, name);
	local told, err = registry._native.explain(name, kind or family and family.type_, host);
	if not told then
		return "metre: " .. tostring(err);
	end
	local why = registry._ignored[name];
	return why and told .. "  ignored: " .. why .. "\n" or told;
end
