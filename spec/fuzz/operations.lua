-- What happens in a round: each operation does one thing to the world, chosen by its random numbers, and looks whether what was
-- promised holds.

local trace = require "fuzz.trace";
local ways = require "fuzz.ways";

local most_pages = 60;

-- Figures, and the file that takes some of the pages.
local self = { calls = 0, raised = 0, page_count = 0, pages = nil };

-- The round's.
local world;

-- Errors are strings, or what the caller's code has raised.
local function check_error(err, name)
	self.raised = self.raised + 1;
	if type(err) == "string" then
		if err:find("internal error", 1, true) or err:find("panicked", 1, true) then
			world.fail(name .. " raised: " .. err);
		end
	elseif err ~= 4711 and not (type(err) == "table" and world.raised[err]) then
		world.fail(name .. " raised " .. trace.describe(err) .. " (" .. type(err) .. ")");
	end
end

local function never(name, ok, err)
	if not ok then
		world.fail(name .. " raised " .. tostring(err));
	end
end

local operations = {};

-- What came back may be used from now on.
local function take_results(name, ok, ...)
	if not ok then
		check_error((...), name);
		return;
	end
	for i = 1, math.min(select("#", ...), 3) do
		world:add((select(i, ...)), name:match("([%w_]*)$") .. "_" .. i);
	end
end

function operations.call(random)
	local found = world:pick_function();
	local list = world.values.arguments(world.values.ours(true), random:below(4) > 0);
	local kind, way = random:below(10), "here";
	if kind < 7 and random:below(2) == 0 then
		way = random:pick(ways.plain_names);
	elseif kind == 7 and random:below(4) == 0 then
		way = random:pick(ways.rough_names);
	elseif kind == 8 then
		way = random:pick(ways.direct_names);
	end
	trace.note(("call %s(%s) by %s"):format(found.name, trace.list(list), way));
	local unpack = world.values.unpack;
	local ok, err;
	world.any_self = true;
	world.ended = world.ended or world.finalizers[found.call];
	if ways.direct[way] and kind == 8 then
		ok, err = pcall(ways.direct[way], found.call, list, random);
	else
		local within = random:below(3) > 0;
		ok, err = pcall(ways.plain[way] or ways.rough[way], function ()
			self.calls = self.calls + 1;
			if within then
				take_results(found.name, pcall(found.call, unpack(list)));
			else
				take_results(found.name, true, found.call(unpack(list)));
			end
		end, random, world);
	end
	debug.sethook();
	world.any_self = false;
	if not ok then
		check_error(err, found.name .. " by " .. way);
	end
	if random:below(5) == 0 then
		world.reset_notices();
	end
end

local field_names = {
	"value", "_created", "_sum", "_count", "count", "threshold", "threshold_s", "x", "add", "set", "label_keys", "data",
	1, 2, 3, 0, -1, 1.5, 2^53,
};

-- Reads, and writes to metrics, as operators and Lua's own functions do.
local accesses = {
	function (object, key) return object[key]; end,
	function (object) return #object; end,
	trace.traverses(function (object) for _, value in pairs(object) do local _ = value; end end), -- in an order that is different each time
	function (object) for _, value in ipairs(object) do return value; end end, -- luacheck: ignore 512
	function (object, key) local _ = next(object, key); end,
	function (object) return tostring(object); end,
	function (object, key) return object == key, object ~= key; end,
	function (object, key) return object < key; end,
	function (object, key) return object .. key; end,
	function (object, key) return object(key); end,
	function (object) return getmetatable(object); end,
	function (object) return setmetatable(object, {}); end,
	function (object, key) return rawequal(object, key), rawget(object, key); end,
	function (object) local a, b = object, object; return a == b, -a; end,
	function (object) return table.concat(object, ","); end,
	function (object) for labels, metric in object:iter_metrics() do if labels.n == 3 then return metric; end end end,
	function (object) for _, extra, value in object:iter_samples() do if extra and value == 1 then return extra; end end end,
};

local set_metatable = 12;

function operations.access(random)
	local subject = world:pick_subject();
	local access = random:below(#accesses) + 1;
	local key = random:pick(field_names);
	if access == set_metatable and getmetatable(subject.value) ~= "metre" and (not world.tampered or world.modules[subject.value]) then
		return;
	elseif random:below(3) == 0 then
		key = world.values.pick();
	elseif random:below(6) == 0 and #world.hidden_keys > 0 then
		key = random:pick(world.hidden_keys);
	end
	trace.note(("access %d %s[%s]"):format(access, subject.name, trace.describe(key)));
	self.calls = self.calls + 1;
	take_results("access", pcall(accesses[access], subject.value, key));
end

-- Assigning to metrics changes nothing; what else there is are Lua tables with fields that only a broken module would write to.
function operations.assign(random)
	local subject = world:pick_subject();
	local ours = getmetatable(subject.value) == "metre";
	if not ours and (not world.tampered or world.modules[subject.value]) then
		return;
	end
	local key, value = random:pick(field_names), world.values.pick(true);
	if random:below(3) == 0 then
		key = #world.hidden_keys > 0 and random:below(2) == 0 and random:pick(world.hidden_keys) or world.values.pick();
	end
	trace.note(("assign %s[%s] = %s"):format(subject.name, trace.describe(key), trace.describe(value)));
	self.calls = self.calls + 1;
	if random:below(2) == 0 then
		take_results("assign", pcall(function () subject.value[key] = value; end));
	else
		take_results("assign", pcall(rawset, subject.value, key, value));
	end
end

function operations.model(random)
	if random:below(40) == 0 then
		world.model:clear();
		return;
	end
	local name = random:below(2) == 0 and "here" or random:pick(ways.plain_names);
	world.model:update(ways.plain[name], name);
	self.calls = self.calls + 1;
end

local function render(stats, name, extra)
	local registry = stats.metric_registry;
	local ok, page = pcall(registry.render, registry, extra);
	never(name, ok, page);
	if type(page) ~= "string" or not page:find("# EOF\n$") or page:find("\n[^#\n]* %-nan\n") then
		world.fail("the page is no page: " .. trace.describe(page));
	elseif self.page_count < most_pages and #page < 100000 then
		self.page_count = self.page_count + 1;
		self.pages:write(#page, "\n", page);
	end
	return page;
end

-- What never raises, whatever it is given.
local harmless = { "cork", "uncork", "cork", "uncork", "render", "render", "flush", "close" };

function operations.never(random)
	local stats, name = random:pick(world.providers), random:pick(harmless);
	if world.tampered or (name == "flush" or name == "close") and random:below(30) > 0 then
		return;
	end
	trace.note("never " .. name);
	self.calls = self.calls + 1;
	if name == "render" then
		render(stats, name, world.values.pick());
	else
		never(name, pcall(stats[name], stats, world.values.pick()));
	end
end

function operations.handler(random)
	if #world.handlers > 0 and random:below(8) == 0 then
		local handler = random:pick(world.handlers);
		trace.note(handler.name);
		self.calls = self.calls + 1;
		local results = { pcall(handler.call, world.values.pick()) };
		never(handler.name, results[1], results[2]);
		if results[2] ~= nil then
			world.fail(handler.name .. " returned " .. trace.describe(results[2]));
		end
	end
end

function operations.register() world:register(); end
function operations.obtain() world:obtain(); end

function operations.expire(random)
	local stats = random:pick(world.providers);
	if stats ~= world.model.stats and not world.tampered then
		trace.note("time passes");
		never("skip", pcall(stats._native.skip, random:pick { 0.5, 2, 4000 }));
		never("uncork", pcall(stats.uncork, stats));
	end
end

function operations.leave(random)
	local of = world.families[1 + random:below(20)];
	if of and not world.tampered then
		local position, value = random:below(4), "v" .. random:below(8);
		trace.note(("forget %d %s"):format(position, value));
		never("forget", pcall(world.native.forget, of.family._native, position, value));
	end
end

local generational = _VERSION == "Lua 5.4";

function operations.collect(random)
	trace.note("collect");
	local which = random:below(12);
	if which < 3 then
		collectgarbage();
	elseif which < 8 then
		collectgarbage("step", random:below(200));
	elseif which == 8 then
		collectgarbage("setpause", random:pick { 110, 150, 200 });
		collectgarbage("setstepmul", random:pick { 200, 400 });
	elseif which == 9 and generational then
		collectgarbage(random:pick { "generational", "incremental" });
	elseif which == 10 then
		collectgarbage("stop");
	else
		collectgarbage("restart");
	end
end

function operations.forget() world:forget_some(); end
function operations.provider(random)
	if #world.providers < 5 or random:below(10) == 0 then
		world:new_chaos_provider();
	end
end

local choice = {};
for name, weight in pairs {
	call = 50, access = 8, assign = 3, model = 20, never = 4, register = 4, obtain = 8, expire = 1, leave = 2, collect = 2, forget = 1,
	handler = 1, provider = 1,
} do
	for _ = 1, weight do
		table.insert(choice, name);
	end
end
table.sort(choice);

function self.begin(new_world)
	world = new_world;
end

-- Some operation.
function self.step()
	operations[world.random:pick(choice)](world.random);
end

self.check_error, self.never, self.render = check_error, never, render;

return self;
