-- Counts something that has to have arrived when Prosody has ended.

module:set_global();

local counter = require "core.statsmanager".metric("counter", "exits", "", "", { "who" });
counter:with_labels("prosody"):add(1000);
module:hook_global("stats-update", function () counter:with_labels("collections"):add(0); end);
