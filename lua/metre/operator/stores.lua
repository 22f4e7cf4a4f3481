-- Has the operations of Prosody's stores measured, without anybody noticing.
--
-- A store stays the object that it was, with the fields that it had: what is replaced is its metatable, by a copy whose
-- methods are measured, and any method that is a field of the store itself. A proxy in its place would cost no less, and
-- hide its fields from pairs() on Lua 5.1 and from drivers that others have given a method.

local running = coroutine.running;

-- The methods that stores of all types have, by what they do. A driver's own helpers are none.
local operations = {
	get = "get"; get_all = "get"; get_key = "get"; get_key_from_all = "get";
	set = "set"; set_key = "set"; set_keys = "set";
	find = "find";
	append = "append";
	delete = "delete"; delete_all = "delete"; delete_key_from_all = "delete"; purge = "delete";
	dates = "other"; items = "other"; summary = "other"; trim = "other"; users = "other";
};

-- Methods that are the work of others of the same store in Prosody's own drivers: their time is in that of the others.
local parts = { get = "find"; summary = "find"; set = "set_keys"; delete = "trim" };
local is_part = { find = true; set_keys = true; trim = true };

-- What other modules hold may go, and what is ours with it. Both are weak: Lua 5.1 would keep what refers to its own key.
local weak = { __mode = "kv" };

-- now: the clock of pack:stop_of(). prepare(call): asked before an operation ends for the first time; it sets call.stop, a function
-- as pack:stop_of() makes them. It doesn't raise. `call` has label, operation and driver.
-- Returns watch(driver, label, store), which is to be called for each store that a driver has opened; `driver` is a table with
-- the tables `metatables` and `calls`: all that use it, as keys.
local function new(now, prepare)
	-- Of what we have put in the place of others: what was there, and with what label.
	local ours = setmetatable({}, { __mode = "k" });
	-- The store that is asked for what has parts, and by whom. It stays if that raises, until the next one has answered.
	local inside, inside_thread = nil, nil;

	-- Nothing in here can raise, so it is not protected: modules themselves call metrics plainly.
	local function after(call, from, ...)
		local stop = call.stop;
		if not stop then
			prepare(call);
			stop = call.stop;
			if not stop then
				return ...;
			end
		end
		return stop(from, ...);
	end

	local function after_parts(call, from, ...)
		inside = nil;
		return after(call, from, ...);
	end

	local function simple(call, method)
		return function (...)
			local stop = call.stop;
			if stop then
				return stop(now(), method(...));
			end
			return after(call, now(), method(...));
		end;
	end

	local function with_parts(call, method)
		return function (...)
			inside, inside_thread = (...), (running());
			return after_parts(call, now(), method(...));
		end;
	end

	local function part(call, method)
		return function (...)
			if inside and rawequal(inside, (...)) and inside_thread == running() then
				return method(...);
			end
			return after(call, now(), method(...));
		end;
	end

	-- others: what the store has under another name.
	local function measured(driver, label, name, method, others)
		local call = { driver = driver; label = label; operation = operations[name] };
		driver.calls[call] = true;
		local make = is_part[name] and part or parts[name] and type(others(parts[name])) == "function" and with_parts or simple;
		local f = make(call, method);
		ours[f] = { original = method; label = label };
		return f;
	end

	-- What was there before us, and the label that it is to have now. Who gives the same object out under several names
	-- can't be told apart.
	local function before_us(value, label)
		local known = ours[value];
		if not known then
			return value, label;
		end
		return known.original, known.label == label and label or "other", known.label == label;
	end

	local function methods_of_table(driver, label, index)
		local methods = setmetatable({}, { __index = index });
		local function others(name)
			return index[name];
		end
		for name in pairs(operations) do
			local method = index[name];
			if type(method) == "function" then
				methods[name] = measured(driver, label, name, method, others);
			end
		end
		return methods;
	end

	local function methods_of_function(driver, label, index)
		local known = setmetatable({}, weak);
		return function (store, name)
			local method = index(store, name);
			if not operations[name] or type(method) ~= "function" then
				return method;
			end
			local f = known[method];
			if not f then
				f = measured(driver, label, name, method, function (other) return index(store, other); end);
				known[method] = f;
			end
			return f;
		end;
	end

	local function metatable_like(driver, label, mt)
		local copy = {};
		for key, value in next, mt do
			copy[key] = value;
		end
		local index = rawget(mt, "__index");
		if type(index) == "table" then
			copy.__index = methods_of_table(driver, label, index);
		elseif type(index) == "function" then
			copy.__index = methods_of_function(driver, label, index);
		end
		ours[copy] = { original = mt; label = label };
		return copy;
	end

	-- Some stores are opened for each operation.
	local function known_metatable(driver, label, mt)
		local of_label = driver.metatables[label];
		if not of_label then
			of_label = setmetatable({}, weak);
			driver.metatables[label] = of_label;
		end
		local copy = of_label[mt];
		if not copy then
			copy = metatable_like(driver, label, mt);
			of_label[mt] = copy;
		end
		return copy;
	end

	return function (driver, label, store)
		for name, value in next, store do
			if operations[name] and type(value) == "function" then
				local method, its_label, is_ours = before_us(value, label);
				if not is_ours then
					rawset(store, name, measured(driver, its_label, name, method, function (other) return store[other]; end));
				end
			end
		end
		local mt, its_label, is_ours = before_us(getmetatable(store), label);
		if type(mt) == "table" and not is_ours then
			-- One that is protected stays.
			pcall(setmetatable, store, known_metatable(driver, its_label, mt));
		end
	end;
end

return {
	new = new;
};
