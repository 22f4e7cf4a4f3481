-- `statistics = ":metre.statsd"`: metre with its statsd pusher on.

local function new()
	return nil, "metre has no statsd pusher yet; use statistics = \":metre\", or Prosody's own \"statsd\"";
end

return {
	_NAME = "metre.statsd";
	new = new;
};
