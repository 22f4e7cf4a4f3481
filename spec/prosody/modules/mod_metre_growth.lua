-- Makes a label and a family of each word that a client sends, as modules that trust clients do.

local words = module:metric("counter", "words", "", "Words of messages", { "word" });
local lengths = module:metric("histogram", "lengths", "bytes", "Lengths of messages", { "word" }, { buckets = { 10, 100 } });
local latest = module:metric("gauge", "latest", "", "Words of the latest message", { "word" });
local delay = module:metric("summary", "delay", "seconds", "", { "word" });
local held = {};

module:hook("message/host", function (event)
	local body = event.stanza:get_child_text("body") or "";
	for word in body:gmatch("%S+") do
		words:with_labels(word):add(1);
		lengths:with_labels(word):sample(#word);
		latest:with_labels(word):set(#body);
		delay:with_labels(word):sample(0.001 * #word);
		if word:match("^family") then
			module:measure("of_" .. word, "amount")(1);
		elseif word:match("^held") then
			held[word] = held[word] or words:with_labels(word);
			held[word]:add(1);
		end
	end
	-- So that the client knows when all is counted.
	module:send(require "util.stanza".reply(event.stanza):body("counted"));
	return true;
end);
