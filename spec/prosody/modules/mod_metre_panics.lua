-- Makes every native function panic, in the middle of Prosody, and says what came of it.

local native = require "metre.native";
local run = dofile(os.getenv("METRE_PANIC_CASES"));

module:hook_global("server-started", function ()
	local results = run(native, require "metre");
	for _, result in ipairs(results) do
		module:log("info", "panicked: %s, counted %d, raised %s", result.place, result.counted, tostring(result.raised));
	end
	module:log("info", "all have panicked");
	-- The exporter's threads start after this.
	native.panic_at("the listener");
	module:add_timer(0.2, function () native.panic_at(nil); end);
end);
