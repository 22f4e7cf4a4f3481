-- Random numbers that are the same on every Lua version and machine.

local methods = {};
local mt = { __index = methods };

-- From 0 to n-1. (A linear congruential generator whose products stay below 2^53.)
function methods:below(n)
	self.state = (self.state * 1103515 + 12345) % 2147483648;
	return math.floor(self.state / 8) % n;
end

function methods:pick(list)
	return list[self:below(#list) + 1];
end

return function (seed)
	local random = setmetatable({ state = (seed % 2147483648 * 7919 + 17) % 2147483648 }, mt);
	random:below(2);
	return random;
end
