-- The end, an error, or a close() while metre's own code has called Lua: its logger, and finalizers that run whenever something is
-- allocated.

-- Metre logs by this, and thinks it is Prosody's. To be set before metre is loaded.
local function set_logger(log)
	package.preload["util.logger"] = function ()
		return { init = function () return log; end };
	end
end

-- Has metre log something, from the depth of an update.
local function provoke(stats)
	local family = stats.metric_registry:counter("provoked", "", "", { "a" });
	family:with_labels("x"):add(-1);
	family:with_labels("x"):add(1);
end

-- `log` is called with the tools, the run and the provider from within an update.
local function logging(name, ends, log, check)
	return { name = name, ends = ends, run = function (t, run)
		local around = t.surroundings(run);
		around.closing = "never";
		local stats, armed;
		local calls = 0;
		set_logger(function ()
			if armed then
				armed = false;
				calls = calls + 1;
				log(t, run, stats);
			end
		end);
		stats = t.begin(around);
		t.tell(around, false);
		armed = true;
		provoke(stats);
		t.check(calls == 1, "nothing was logged");
		if check then
			check(t, stats);
		end
		t.say("leaves");
	end };
end

-- Runs f in a finalizer that a page's memory sets off.
local function finalizing(name, ends, f, stderr)
	return { name = name, ends = ends, stderr = stderr, run = function (t, run)
		local around = t.surroundings(run);
		around.closing = "never";
		local stats = t.begin(around);
		t.tell(around, false);
		local done;
		-- In a coroutine, since older Luas raise what the finalizer raises wherever something is allocated.
		coroutine.resume(coroutine.create(function ()
			t.finalized(function ()
				done = true;
				f(t, run, stats);
			end);
			for _ = 1, 100000 do
				stats.metric_registry:render();
				if done then
					break;
				end
			end
		end));
		t.check(done, "nothing was finalized");
		local page = stats.metric_registry:render();
		t.check(page:find("# EOF\n", 1, true), "no page");
	end };
end

return {
	logging("os.exit in the logger", "exit 5", function (t, run) t.exit(5, run % 2 == 0); end);
	logging("os.exit in a coroutine in the logger", "exit 5", function (t, run)
		coroutine.wrap(function () t.exit(5, run % 2 == 0); end)();
	end);
	logging("an error in the logger", "exit 0", function () error("on purpose"); end);
	logging("an error that is no string in the logger", "exit 0", function () error({}); end);
	logging("close() in the logger", "exit 0", function (_, _, stats) stats:close(); end);
	logging("flush() and close() in the logger", "exit 0", function (t, _, stats)
		-- Each of them may take its time.
		stats:flush();
		t.say("leaves");
		stats:close();
		t.say("leaves");
		stats:flush();
		t.say("leaves");
	end, function (_, stats) stats:close(); end);
	logging("everything is collected in the logger", "exit 0", function (t) t.collect(); end);
	finalizing("os.exit in a finalizer below a page", "exit 6", function (t, run)
		-- Lua 5.1 and LuaJIT can't be closed in a finalizer.
		t.exit(6, run % 2 == 0 and _VERSION ~= "Lua 5.1");
	end);
	finalizing("close() in a finalizer below a page", "exit 0", function (_, _, stats) stats:close(); end);
	-- If the page has heard of it, that is logged.
	finalizing("an error in a finalizer below a page", "exit 0", function () error("on purpose"); end, "on purpose");
	{
		name = "close() in a finalizer at the end of the state", run = function (t, run)
			local around = t.surroundings(run);
			around.closing = "never";
			local stats;
			local object = t.finalized(function ()
				stats:flush();
				stats:close();
				stats:close();
			end);
			stats = t.begin(around);
			t.tell(around, false);
			rawset(_G, "object", object);
			-- And one that comes before metre's own finalizers.
			rawset(_G, "later", t.finalized(function () stats:close(); end));
		end;
	};
}
