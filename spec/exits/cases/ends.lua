-- A script ends, with threads running.

-- Has a provider and ends by `leave`. What has been said by then is right if that closes the Lua state, or the provider was closed.
local function ending(name, ends, leave, more)
	local case = { name = name, ends = ends };
	for key, value in pairs(more or {}) do
		case[key] = value;
	end
	function case.run(t, run)
		local around = t.surroundings(run);
		local stats = t.begin(around);
		t.tell(around, around.closed);
		return leave(t, run, stats);
	end
	return case;
end

return {
	ending("returns", "exit 0", function () end);
	ending("returns, everything in globals", "exit 0", function (_, _, stats) rawset(_G, "kept", stats); end);
	ending("raises", "exit 1", function () error("an error on purpose"); end, { stderr = "an error on purpose" });
	-- Lua 5.2 says "no error message", the others that the error object is a table.
	ending("raises what is no string", "exit 1", function () error({}); end, { stderr = "error " });
	ending("os.exit(0)", "exit 0", function () os.exit(0); end);
	ending("os.exit(false)", "exit 1", function (t) os.exit(t.can_close and false or 1); end);
	ending("os.exit(true, true)", "exit 0", function () os.exit(true, true); end, { closes = true });
	ending("os.exit(7, true)", "exit 7", function () os.exit(7, true); end, { closes = true });
	ending("os.exit in a coroutine", "exit 3", function (t, run)
		coroutine.wrap(function () t.exit(3, run % 2 == 0); end)();
	end);
	ending("os.exit in a coroutine below pcall", "exit 3", function (t, run)
		coroutine.wrap(function () pcall(pcall, t.exit, 3, run % 2 == 0); end)();
	end);
	ending("os.exit in a finalizer", "exit 4", function (t)
		t.finalized(function () os.exit(4); end);
		t.collect();
	end);
	ending("os.exit in a finalizer at the end of the state", "exit 4", function (t)
		rawset(_G, "last", t.finalized(function () os.exit(4); end));
	end);
	ending("raises in a coroutine that uses it", "exit 0", function (t, _, stats)
		local co = coroutine.create(function ()
			local counter = stats and stats.metric_registry:counter("x"):with_labels();
			coroutine.yield();
			counter.add("no counter", 1);
		end);
		coroutine.resume(co);
		t.check(not coroutine.resume(co), "no error");
	end);
}
