-- As much of Prosody as metre asks for: what is handed to it is called later, at any time.

local prosody = {};

-- Begins to be there. take(f, name) gets each function that metre hands over.
function prosody.begin(random, directory, take)
	local process_type = random:pick { "prosody", "prosody", "prosodyctl" };
	rawset(_G, "prosody", {
		process_type = process_type;
		paths = { config = random:below(2) == 0 and directory or nil };
		events = { add_handler = function (event, handler) take(handler, "handler of " .. event, true); end };
	});
	local manual = random:below(2) == 0;
	package.loaded["core.statsmanager"] = { collect = manual and function ()
		if random:below(4) == 0 then
			error("a module fails");
		end
	end or nil };
	package.loaded["util.timer"] = { add_task = function (_, task) take(task, "timer"); end };
	package.loaded["net.server"] = {
		get_backend = function () return random:pick { "epoll", "select" }; end;
		watchfd = function (_, readable)
			take(readable, "descriptor", true);
			return { close = function () end };
		end;
	};
end

function prosody.finish()
	rawset(_G, "prosody", nil);
	package.loaded["core.statsmanager"], package.loaded["util.timer"], package.loaded["net.server"] = nil, nil, nil;
end

return prosody;
