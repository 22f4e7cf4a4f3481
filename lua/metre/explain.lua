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

-- The type of the family of this name among those that metre adds by itself, whether they are there or not. A counter's
-- samples are called NAME_total.
local function kind_of(name)
	local found, families = pcall(require, "metre.operator.families");
	if not found then
		return nil;
	end
	local counter = families[(name:gsub("_total$", ""))];
	local family = families[name] or counter and counter.type == "counter" and counter;
	return family and family.type or nil;
end

-- For the family of a registry, which knows the types of those that are there.
local function explain(registry, name, kind, host)
	local family = type(name) == "string" and find(registry.families, name);
	kind = kind or family and family.type_ or type(name) == "string" and kind_of(name) or nil;
	local told, err = registry._native.explain(name, kind, host);
	if not told then
		return "metre: " .. tostring(err);
	end
	local why = registry._ignored[name];
	return why and told .. "  ignored: " .. why .. "\n" or told;
end

return {
	explain = explain;
	kind_of = kind_of;
};
