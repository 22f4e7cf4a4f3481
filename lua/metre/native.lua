-- Loads the native module that was built for this Lua version.
--
-- Each version has a module of its own name, since one that was built for another version can crash on loading.

local instead = require "metre.panics";
local log = require "metre.log";

local name = "metre_lua" .. _VERSION:gsub("%D", "");

-- The directories where the module can lie next to this file, as make install and luarocks put them.
local function directories()
	local root = debug.getinfo(1, "S").source:match("^@(.*)metre/native%.lua$");
	if not root then
		return {};
	end
	root = root == "" and "./" or root;
	return { root, (root:gsub("/share/lua/", "/lib/lua/")) };
end

-- Prosody 0.12 sets package.cpath wrongly for what `prosodyctl install` installs, so look beside this file too.
local function load_beside(first_error)
	local reasons = tostring(first_error);
	for _, directory in ipairs(directories()) do
		local open, err = package.loadlib(directory .. name .. ".so", "luaopen_" .. name);
		if open then
			return open(name);
		end
		reasons = reasons .. "\n\t" .. tostring(err);
	end
	error("metre: cannot load its native module for " .. _VERSION .. "; was it built and installed for this version "
		.. "(make install LUA_VERSION=" .. _VERSION:match("%d+%.%d+") .. ")? " .. reasons, 0);
end

local found, native = pcall(require, name);
if not found then
	native = load_beside(native);
	package.loaded[name] = native;
end

native.on_notice(function (family_name, what, value, why, outcome)
	log("warn", "Metric %s: %s %s; %s",
		family_name, value ~= nil and what .. " " .. tostring(value) or what, why, outcome);
end);

native.on_panic(function (place, message)
	if message then
		log("error", "Please report: %s", message);
	end
	return instead[place];
end);

return native;
