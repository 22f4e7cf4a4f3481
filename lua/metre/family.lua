-- Metric families as modules see them.

local ignored = require "metre.ignored";
local native = require "metre.native";

-- BEGIN of proxies: families with the values of the first labels set

local proxy_methods = {};
local proxy_mt = { __index = proxy_methods };

local function new_proxy(family, prefix)
	if not prefix then
		-- The native side has failed, and said so.
		return ignored.new { type_ = family.type_, user_labels = family.user_labels };
	end
	return setmetatable({
		with_labels = native.with_labels_of(family._native, prefix);
		_family = family;
		_prefix = prefix;
	}, proxy_mt);
end

function proxy_methods:with_partial_label(value)
	return new_proxy(self._family, native.prefix(self._family._native, self._prefix, value));
end

-- END of proxies

local family_methods = {};
local family_mt = { __index = family_methods };

function family_methods:with_partial_label(value)
	return new_proxy(self, native.prefix(self._native, nil, value));
end

function family_methods:iter_metrics()
	return native.iter_metrics(self._native);
end

function family_methods:clear()
	native.clear(self._native);
end

-- fields: those that modules read. family: the native side.
local function new(fields, family)
	fields._native = family;
	fields.with_labels = native.with_labels_of(family);
	if fields.user_labels == 0 then
		fields.data = native.metric(family);
	else
		fields.data = { get = native.get_of(family) };
	end
	return setmetatable(fields, family_mt);
end

return {
	new = new;
};
