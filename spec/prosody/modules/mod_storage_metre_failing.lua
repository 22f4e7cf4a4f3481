-- A storage driver whose disk is on fire: some operations say so, and one raises.

local methods = {};
local mt = { __index = methods };

local function fail()
	return nil, "the disk is on fire";
end

methods.get, methods.set, methods.append, methods.find, methods.delete = fail, fail, fail, fail, fail;

function methods.users()
	error("the disk is on fire");
end

module:provides("storage", {
	open = function ()
		return setmetatable({}, mt);
	end;
});
