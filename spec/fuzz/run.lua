-- Calls everything that metre has, with everything that Lua has, in every order; a seed gives the same calls again.
--
-- lua spec/fuzz/run.lua DIRECTORY SEED SECONDS [OPERATIONS [ROUNDS]]: as many operations a round, and rounds at most. In the
-- directory stay `trace`, the last operations, and `pages`, some of the pages. Ends with status 1 and tells why if something is
-- wrong, and with a line of figures otherwise.

local directory, seed, seconds = arg[1], tonumber(arg[2]), tonumber(arg[3]);
local operations_a_round, most_rounds = tonumber(arg[4]) or 1500, tonumber(arg[5]) or 1/0;

local new_random = require "support.random";
local trace = require "fuzz.trace";
local configs = require "fuzz.configs";
local operations = require "fuzz.operations";
local prosody = require "fuzz.prosody";

trace.open(directory .. "/trace");
operations.pages = assert(io.open(directory .. "/pages", "wb"));
local round;

local function fail(message)
	io.stderr:write(("seed %d, round %d, operation %d: %s\n"):format(seed, round or 0, trace.count, message));
	io.stderr:write(debug.traceback(), "\n");
	os.exit(1);
end

-- What is logged, and what happens meanwhile.
local world;
local function logged(_, message, ...)
	local ok, text = pcall(string.format, message, ...);
	if not ok and (world.raised[text] or tostring(text):find("stack overflow", 1, true)) then
		error(text, 0); -- not from the format, but a debug hook's, or from the last place on the stack
	elseif not ok then
		text = "";
		if not world.tampered then
			fail("a log line that can't be put together: " .. trace.describe(message));
		end
	end
	if text:find("internal error", 1, true) or text:find("Please report", 1, true) and not world.tampered and not world.any_self then
		fail("logged: " .. text);
	elseif world and world.on_log then
		-- Not while it is logged what that does.
		local run = world.on_log;
		world.on_log = nil;
		run();
	end
end
package.preload["util.logger"] = function ()
	return { init = function () return logged; end };
end

-- On every other seed metre is loaded by a coroutine that ends.
local metre_modules = {
	"metre", "metre.native", "metre.lifecycle", "metre.registry", "metre.family", "metre.repair", "metre.ignored", "metre.log",
};
local function load_metre()
	-- What hooks into all of Prosody needs a real one.
	require "metre.operator".attach = function () end;
	for _, name in ipairs(metre_modules) do
		require(name);
	end
end
if seed % 2 == 0 then
	load_metre();
else
	coroutine.wrap(load_metre)();
	collectgarbage();
end
local native = require "metre.native";
local notice_callback;
do
	-- The callback that metre itself has set.
	local set = native.on_notice;
	local name = "metre_lua" .. _VERSION:gsub("%D", "");
	local captured;
	package.loaded["metre.native"], package.loaded[name].on_notice = nil, function (callback) captured = callback; end;
	require "metre.native";
	package.loaded["metre.native"], package.loaded[name].on_notice = native, set;
	notice_callback = captured;
end
local function reset_notices() native.on_notice(notice_callback); end
reset_notices();

local function play()
	local random = new_random(seed * 1000003 + round);
	world = require "fuzz.world".new {
		random = random, directory = directory, native = native, fail = fail, reset_notices = reset_notices,
	};
	operations.begin(world);
	world.values = require "fuzz.values" (world);
	-- Whether the fields of what are plain Lua tables are written to, and what is metre's own called. Some of what is promised
	-- doesn't hold then.
	world.tampered = random:below(4) == 0;
	local depth = 0;
	function world.again()
		if depth > 2 or #world.functions == 0 then
			return;
		end
		depth = depth + 1;
		local found, subject = random:pick(world.functions), random:pick(world.subjects);
		if not found.slow and not world.finalizers[found.call] then
			operations.calls = operations.calls + 1;
			local any_self = world.any_self;
			world.any_self = true;
			local ok, err = pcall(found.call, subject and subject.value, random:pick { "x", 1, -1, false }, "y");
			world.any_self = any_self;
			if not ok then
				operations.check_error(err, "in between: " .. found.name);
			end
		end
		depth = depth - 1;
	end
	-- A finalizer may run at any time, so what it does is chosen apart from the rest.
	local of_finalizers = seed + round;
	function world.finalized()
		local of_others = random.state;
		random.state = of_finalizers;
		-- It may be one of an earlier round.
		if world.again then
			world.again();
		end
		of_finalizers, random.state = random.state, of_others;
	end
	-- Handlers neither raise nor return anything, whatever they get.
	local handlers = {};
	if random:below(6) == 0 then
		prosody.begin(random, directory, function (call, name, silent)
			world:add_function(call, name);
			table.insert(handlers, silent and { call = call, name = name } or nil);
		end);
	end
	world.handlers = handlers;
	local stats = world:new_provider(configs.model(random), "model_stats");
	world.subjects, world.functions = {}, {};
	world.model = require "fuzz.model".new(world, stats);
	-- These do to the model's metrics what it can't know.
	world.protected[stats._native.skip], world.protected[stats._native.discard] = true, true;
	-- What metre's rooms have for each other takes any table for one of metre's, and writes to it.
	for i = 3, world.tampered and 0 or #metre_modules do
		local module = require(metre_modules[i]);
		for _, call in next, type(module) == "table" and module or { module } do
			world.protected[call] = true;
		end
	end
	world:add(native, "native");
	world:add(stats, "model_stats");
	world.modules = {};
	for _, name in ipairs(metre_modules) do
		world.modules[require(name)] = true;
	end
	for i = 1, world.tampered and #metre_modules or 1 do
		world:add(require(metre_modules[i]), metre_modules[i]);
	end
	world:new_chaos_provider();
	for _ = 1, operations_a_round do
		world.budget = 200;
		operations.step();
	end
	prosody.finish();
	collectgarbage("restart");
	collectgarbage("setpause", 200);
	collectgarbage("setstepmul", 200);
	world.budget = 0;
	reset_notices();
	trace.note("verify");
	for _, of in ipairs(world.providers) do
		if not world.tampered then
			operations.never("uncork", pcall(of.uncork, of));
			local page = operations.render(of, "render");
			if of == stats then
				world.model:verify(page);
			end
		end
	end
	for _, stop in ipairs(world.stops) do
		operations.never("stop", pcall(stop));
	end
	if not world.tampered then
		operations.never("close", pcall(stats.close, stats));
	end
end

local ends = os.time() + seconds;
round = 0;
repeat
	round = round + 1;
	play();
until os.time() >= ends or round >= most_rounds;
operations.pages:close();
print(("%d rounds, %d operations, %d calls, %d errors raised, %d pages"):format(
	round, trace.count, operations.calls, operations.raised, operations.page_count));
