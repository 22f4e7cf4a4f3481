-- What labels are called as tags.

local new_server = require "support.statsd";

-- The lines that a server gets of what `use` does.
local function lines_of(options, use)
	local server = new_server();
	options.server = "127.0.0.1:" .. server.port;
	local stats = assert(require "metre".new({ statsd = options }));
	use(stats.metric_registry);
	local flushed = stats:flush();
	local lines = server:lines();
	stats:close();
	server:close();
	assert.is_true(flushed);
	return lines;
end

describe("dialects with tags", function ()
	it("call labels what receivers don't take for themselves", function ()
		local function labelled(registry)
			registry:gauge("g", "", "", { "host", "vhost", "device", "x" }):with_labels("a", "b", "c", "d"):set(1);
		end
		for rename_tags, expected in pairs {
			[{}] = "vhost_2:a,vhost:b,exported_device:c,x:d",
			[{ host = "domain", device = "device", x = "vhost_2" }] = "domain:a,vhost:b,device:c,vhost_2:d",
			[{ host = "x" }] = "x_2:a,vhost:b,exported_device:c,x:d",
			[false] = "host:a,vhost:b,device:c,x:d",
		} do
			assert.same({ "prosody.g:1|g|#" .. expected }, lines_of({ tags = "dogstatsd", rename_tags = rename_tags }, labelled));
		end
		-- Without tags labels have no names.
		assert.same({ "prosody.g.a.b.c.d:1|g" }, lines_of({}, labelled));
		local _, err = require "metre".new({ statsd = { tags = "influx", rename_tags = { host = "a b" } } });
		assert.truthy(err:find("'statsd.rename_tags.host' is the string \"a b\"; allowed: a tag's name of letters", 1, true), err);
	end);
end);
