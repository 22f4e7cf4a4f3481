-- statistics_config, as operators get it wrong.

local new = require "metre".new;

local function why_not(config)
	local stats, message = new(config);
	assert.is_nil(stats);
	assert.equal("string", type(message));
	return message;
end

local function with_file(text, f)
	local name = os.tmpname();
	local file = assert(io.open(name, "w"));
	file:write(text);
	file:close();
	local ok, err = pcall(f, name);
	os.remove(name);
	assert(ok, err);
end

describe("statistics_config", function ()
	it("may be left out, and empty", function ()
		assert.truthy(new());
		assert.truthy(new({}));
		assert.truthy(new({ openmetrics = {} }));
	end);

	it("names what it doesn't know, and what was meant", function ()
		local message = why_not({ openmetrics = { creatd = true } });
		assert.equal("statistics_config: unknown key 'openmetrics.creatd' (given: true); did you mean 'created'? "
			.. "allowed here: 'created', 'canonical_le'", message);
	end);

	it("names what has the wrong type", function ()
		assert.equal("statistics_config: 'openmetrics.created' is the string \"no\"; allowed: true or false",
			why_not({ openmetrics = { created = "no" } }));
		assert.equal("statistics_config: is the string \"statsd\"; allowed: a table", why_not("statsd"));
		assert.equal("statistics_config: is the number 5; allowed: a table", why_not(5));
		assert.truthy(why_not({ openmetrics = print }):find("'openmetrics' is a function", 1, true));
		assert.equal("statistics_config: 'openmetrics' is a list; allowed: a table", why_not({ openmetrics = { false } }));
		assert.truthy(why_not({ "openmetrics" }):find("statistics_config: is a list; allowed: a table", 1, true));
		assert.truthy(why_not({ [1] = true, openmetrics = {} }):find("unknown key '1'", 1, true));
		assert.truthy(why_not({ [true] = 1 }):find("unknown key '(boolean)'", 1, true));
	end);

	it("takes text from the environment for what it is for", function ()
		local function page(config)
			local registry = assert(new(config)).metric_registry;
			registry:counter("c"):with_labels():add(1);
			return registry:render();
		end
		local plain = page({ openmetrics = { created = false }, self_metrics = false, process_metrics = false });
		assert.equal(plain, page({ openmetrics = { created = "false", canonical_le = "" }, self_metrics = "false", process_metrics = "false",
			limits = { max_series = "500", max_families = "" }, exporter = "", labels = { cluster = "" } }));
		assert.equal("statistics_config: 'self_metrics' is the string \"no\"; allowed: true or false", why_not({ self_metrics = "no" }));
		-- A variable that isn't set opens nothing.
		for _, key in ipairs { "allow", "bearer_token_file", "probes", "socket_mode" } do
			local message = why_not({ exporter = { [key] = "" } });
			assert.truthy(message:find(("'exporter.%s' is "):format(key), 1, true), message);
		end
	end);

	it("is checked together with the file of tokens", function ()
		local check = require "metre.native".check;
		with_file("hunter2\nhunter3\n", function (name)
			assert.same({}, check({ exporter = { bearer_token_file = name } }, false));
		end);
		with_file("hunter2\n\n", function (name)
			assert.same({ "statistics_config: 'exporter.bearer_token_file' names " .. name .. ": line 2 is blank; remove it; its tokens hold" },
				check({ exporter = { bearer_token_file = name } }, false));
		end);
		with_file("hunter2\nhunter3\nhunter4", function (name)
			local told = check({ exporter = { bearer_token_file = name } }, false);
			assert.equal(1, #told);
			assert.truthy(told[1]:find("line 3 has a third token", 1, true), told[1]);
			assert.falsy(told[1]:find("hunter", 1, true));
			-- What is wrong with the configuration itself comes first.
			told = check({ exporter = { bearer_token_file = name, probes = "some" } }, false);
			assert.equal(1, #told);
			assert.truthy(told[1]:find("'exporter.probes'", 1, true));
		end);
	end);

	it("takes no table that holds itself", function ()
		local config = {};
		config.openmetrics = config;
		why_not(config);
		local wide = {};
		for i = 1, 50 do
			wide["k" .. i], wide[i] = wide, wide;
		end
		why_not(wide);
		local deep = {};
		deep.openmetrics = deep;
		why_not({ openmetrics = { created = deep } });
	end);

	it("takes keys that are not text for what they are", function ()
		why_not({ ["\255"] = 1 });
		why_not({ openmetrics = { created = "\255" } });
	end);
end);

describe("config_file", function ()
	it("is read, and the table wins over it", function ()
		with_file("[openmetrics]\ncreated = false\n", function (name)
			local function has_created(config)
				local stats = assert(new(config));
				stats.metric_registry:counter("c");
				return stats.metric_registry:render():find("_created", 1, true) ~= nil;
			end
			assert.is_false(has_created({ config_file = name }));
			assert.is_true(has_created({ config_file = name, openmetrics = { created = true } }));
			assert.is_true(has_created({}));
		end);
	end);

	it("is read whole, however long it is", function ()
		local rules = {};
		for i = 1, 30 do
			rules[i] = { match = "x" .. i, buckets = {} };
			for bucket = 1, 400 do
				rules[i].buckets[bucket] = bucket;
			end
		end
		rules[31] = { match = "dropped", drop = true };
		local registry = require "metre".new({ rule = rules }).metric_registry;
		registry:gauge("dropped"):with_labels():set(1);
		assert.is_nil(registry.families.dropped);
	end);

	it("is named when something is wrong with it", function ()
		with_file("[openmetrics]\ncanonical = true\n", function (name)
			assert.equal(name .. ", line 2: unknown key 'openmetrics.canonical' (given: true); did you mean 'canonical_le'? "
				.. "allowed here: 'created', 'canonical_le'", why_not({ config_file = name }));
		end);
		with_file("[openmetrics\n", function (name)
			local message = why_not({ config_file = name });
			assert.truthy(message:find(name .. ": is not valid TOML: ", 1, true));
			assert.truthy(message:find("line 1", 1, true));
		end);
		with_file("openmetrics = [false]\n", function (name)
			assert.equal(name .. ", line 1: 'openmetrics' is a list; allowed: a table", why_not({ config_file = name }));
		end);
		assert.truthy(why_not({ config_file = "/nonexistent" }):find("/nonexistent: cannot be read: ", 1, true));
		assert.truthy(why_not({ config_file = "/" }):find("not a regular file", 1, true));
		assert.truthy(why_not({ config_file = {} }):find("'config_file' is a table; allowed: the path", 1, true));
	end);
end);
