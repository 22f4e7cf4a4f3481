-- What was once found by spec/fuzz: calls that no module makes, and that must do no harm all the same.

local native = require "metre.native";
local pages = require "support.pages";
local providers = require "support.providers";

local function raises_text(f, ...)
	local ok, err = pcall(f, ...);
	assert.is_false(ok);
	assert.equal("string", type(err));
	return err;
end

describe("a label value whose text takes other calls", function ()
	it("is like any other", function ()
		local registry = providers.metre();
		local counter = registry:counter("inner"):with_labels();
		local label = setmetatable({}, { __tostring = function ()
			-- More than debug builds remember.
			local threads = {};
			for number = 1, 300 do
				threads[number] = coroutine.create(function () counter:add(1); end);
				assert(coroutine.resume(threads[number]));
			end
			return "text";
		end });
		registry:gauge("outer", "", "", { "l" }):with_labels(label):set(1);
		assert.equal(300, counter.value or registry.families.inner.data.value);
	end);
end);

describe("metamethods that the debug library gives", function ()
	it("look at what they are called with", function ()
		local registry = providers.metre();
		local view = registry:histogram("h", "", "", {}, { buckets = { 1, 2 } }).data;
		local gauge = registry:gauge("g"):with_labels();
		local metatable = debug.getmetatable(view[1]);
		for _, self in ipairs { 1, "x", true, {}, print, io.stdout, view, gauge, registry.families.g._native } do
			if self ~= view then
				raises_text(metatable.__pairs, self);
				raises_text(metatable.__newindex, self, "x", 1);
				raises_text(metatable.__newindex, self, "count", 1);
			end
		end
		raises_text(metatable.__pairs);
		raises_text(metatable.__newindex);
		-- On what they are for they work.
		view[1].mine = 5;
		assert.equal(5, view[1].mine);
		local next_field, fields = metatable.__pairs(view[1]);
		local seen = {};
		for key, value in next_field, fields do
			seen[key] = value;
		end
		assert.same({ threshold = 1, threshold_s = "1", count = 0, mine = 5 }, seen);
	end);
end);

describe("the guard of a native function", function ()
	it("is opened for the end of the state by its own finalizer alone, whatever that is called with", function ()
		local stats = assert(require "metre".new());
		local registry = stats.metric_registry;
		local counter = registry:counter("c"):with_labels();
		counter:add(1);
		local call = stats._native.is_running;
		local _, sentinel = debug.getupvalue(call, 2);
		if _VERSION == "Lua 5.1" and not sentinel then
			return; -- it shows no upvalues of C functions, but LuaJIT does
		end
		local finalize = debug.getmetatable(sentinel).__gc;
		local hidden, handle = next(registry.families.c.data);
		assert.equal("userdata", type(hidden));
		-- Light userdata, one of the guard's size, files, and what is none.
		for _, other in ipairs { hidden, handle, registry.families.c._native, io.stdout, 1, "x", true, {}, print, call } do
			finalize(other);
		end
		finalize();
		assert.is_false(call());
		counter:add(2);
		assert.equal(3, registry.families.c.data.value);
		assert.truthy(registry:render():find("\nc_total 3\n", 1, true));
		io.stdout:write("");
		finalize(sentinel);
		assert.same({ nil, "the Lua state is closing" }, { call() });
		assert.is_nil((stats._native.cork()));
	end);
end);

describe("what callers get where a native function has failed", function ()
	it("is found by the name that the function has in the log", function ()
		local sources = assert(io.popen("cat " .. os.getenv("METRE_ROOT") .. "/src/lua/*.rs"));
		local text = sources:read("*a");
		sources:close();
		local names = {};
		for name in text:gmatch('[^%w_]run%(%s*state,%s*"([^"]+)"') do
			names[name] = true;
		end
		assert.is_true(names.clear and names["iter_samples.next"]);
		for name in pairs(require "metre.panics") do
			assert.is_true(names[name], name .. " is no native function's name");
		end
	end);
end);

describe("a debug hook that raises", function ()
	it("makes an error that is a string, or its own", function ()
		local stats = assert(require "metre".new());
		local own, strange = {}, nil;
		for name, call in pairs(stats._native) do
			for after = 1, type(call) == "function" and name ~= "start" and name ~= "flush" and 60 or 0 do
				local left, ok, err = after, nil, nil;
				-- The hook may hit the inner pcall's own return.
				pcall(function ()
					debug.sethook(function ()
						left = left - 1;
						if left == 0 then
							error(own, 0);
						end
					end, "cr");
					ok, err = pcall(call, "x");
					left = -1;
				end);
				left = -1;
				debug.sethook();
				strange = strange or ok == false and type(err) ~= "string" and err ~= own and name .. ": " .. type(err);
			end
		end
		assert.falsy(strange);
	end);
end);

describe("the values of the first labels", function ()
	it("are taken in one form only", function ()
		local registry = providers.metre();
		local family = registry:counter("c", "", "", { "a", "b" });
		family:with_labels("x", "y"):add(1);
		local prefix = native.prefix(family._native, nil, "x");
		-- Longer than needed, cut short, without an end: each would have made a series that is another one's double.
		for _, bad in ipairs { "\129\0x", "\5ab", "\128", ("\128"):rep(100) .. "\1", ("\255"):rep(20), prefix .. "\2y" } do
			raises_text(native.with_labels_of, family._native, bad);
		end
		native.with_labels_of(family._native, prefix)(nil, "y"):add(1);
		assert.equal(2, family.data:get("x", "y").value);
		pages.assert_valid(registry:render());
	end);

	it("are all there is where a family has labels", function ()
		local family = providers.metre():counter("c", "", "", { "a" });
		family:with_labels("x");
		raises_text(native.metric, family._native);
	end);
end);

describe("a list that says it is endless", function ()
	it("has what is in it", function ()
		local function endless(list)
			return setmetatable(list, { __len = function () return 2^53; end });
		end
		local registry = providers.metre();
		local family = registry:histogram("h", "", "", endless { "a", "b" }, { buckets = endless { 1, 2 } });
		assert.same({ "a", "b" }, family.label_keys);
		family:with_labels("x", "y"):sample(1.5);
		assert.truthy(registry:render():find('h_bucket{a="x",b="y",le="2"} 1\n', 1, true));
	end);

	it("may be a long one", function ()
		local keys = {};
		for i = 1, 3000 do
			keys[i] = "k";
		end
		local family = providers.metre():gauge("g", "", "", keys);
		assert.equal(3000, family.user_labels);
	end);
end);

describe("an error that can't be shown", function ()
	local silent = setmetatable({}, { __tostring = function () error("no text"); end });

	it("is an answer of new() like any other", function ()
		local function fail() error(silent); end
		local config = setmetatable({ config_file = "x" }, { __pairs = fail, __index = fail });
		_G.prosody = { process_type = "prosodyctl", paths = { config = "/nonexistent" } };
		local ok, stats, err = pcall(require "metre".new, config);
		_G.prosody = nil;
		assert.is_true(ok);
		assert.is_nil(stats);
		assert.equal("string", type(err));
	end);

	it("is logged where a handler raises it", function ()
		local lines = providers.logged_by(function ()
			require "metre.lifecycle".protected(function () error(silent); end)();
		end);
		assert.same({ "error: Please report: an error that is a table" }, lines);
	end);
end);
