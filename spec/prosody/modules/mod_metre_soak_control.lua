-- Lets a test steer Prosody without a new descriptor: by datagrams, one for each question and one for its answer.

local json = require "util.json";
local modulemanager = require "core.modulemanager";
local socket = require "socket";
local now = require "util.time".now;

module:set_global();

-- Outlives reloads, of mod_metre_soak as well.
local state = module:shared("/*/metre_soak/state");

local does = {};

-- What mod_metre_soak has counted. From then on it counts no more, if it is told so.
function does.report(request)
	state.paused = request.pause;
	local entries = {};
	for _, entry in pairs(state.entries) do
		entries[#entries + 1] = entry;
	end
	return { entries = entries, updates = state.updates, stanzas = state.stanzas, loads = state.loads };
end

-- The next collection takes so long, or fails in the middle.
function does.collection(request)
	state.slow, state.fails = request.slow, request.fails;
	return {};
end

function does.reload(request)
	-- One that was unloaded and could not be loaded again, since there was no descriptor, is loaded.
	local loaded = modulemanager.is_loaded(request.host, request.module);
	local ok, err = modulemanager[loaded and "reload" or "load"](request.host, request.module);
	return { done = not not ok, why = err and tostring(err) };
end

-- Prosody's log works if this stands in it.
function does.log(request)
	module:log("info", "%s", request.text);
	return {};
end

function does.clean()
	collectgarbage();
	collectgarbage();
	return { heap = collectgarbage("count") * 1024 };
end

function does.time()
	return { time = now() };
end

local server = assert(socket.udp());
assert(server:setsockname("127.0.0.1", module:get_option_number("metre_soak_port")));
server:settimeout(0);

require "net.server".watchfd(server, function ()
	local text, address, port = server:receivefrom();
	local request = text and json.decode(text);
	if request then
		local ok, answer = pcall(does[request.what], request);
		answer = ok and answer or { error = tostring(answer) };
		answer.id = request.id;
		server:sendto(json.encode(answer), address, port);
	end
end);
