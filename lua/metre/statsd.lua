-- `statistics = ":metre.statsd"`: metre with its statsd pusher on.

return {
	_NAME = "metre.statsd";
	new = require "metre".new_with_statsd;
};
