-- What callers get where the native side has failed, by the name of its function: something that does nothing. nil where it isn't here.

local ignored = require "metre.ignored";
local metric, nothing = ignored.any, ignored.nothing;

return {
	["bucket.__pairs"] = nothing;
	expire = 0;
	forget = 0;
	get_of = nothing;
	iter_metrics = nothing;
	iter_samples = nothing;
	metric = metric;
	["metric.__ipairs"] = nothing;
	["metric.__len"] = 0;
	["metric.__pairs"] = nothing;
	with_labels = metric;
	with_labels_of = function () return metric; end;
};
