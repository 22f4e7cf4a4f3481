-- The `metre` command, called as its script calls it. Prosody's own reader of its configuration is there on Debian's Lua alone.

local main = require "metre.command".main;

local has_prosody = _VERSION == "Lua 5.4";

-- Files in a directory of their own, which goes with them.
local directory = os.tmpname();
os.remove(directory);
local function file(name, text)
	os.execute("mkdir -p " .. directory);
	local path = directory .. "/" .. name;
	local opened = assert(io.open(path, "w"));
	opened:write(text);
	opened:close();
	return path;
end

-- Runs the command; its status and what it prints.
local function metre(arguments, typed)
	local printed = {};
	local out = { write = function (_, ...)
		for i = 1, select("#", ...) do
			printed[#printed + 1] = (select(i, ...));
		end
	end };
	local input = { read = function () return typed; end };
	local status = main(arguments, out, input);
	return status, table.concat(printed);
end

local function has(text, part)
	assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text));
end

local function has_not(text, part)
	assert.falsy(text:find(part, 1, true), ("%q is in:\n%s"):format(part, text));
end

local function remove_files()
	os.execute("rm -rf " .. directory);
end

describe("the command", function ()
	teardown(remove_files);

	it("shows its version and help", function ()
		local status, text = metre { "--version" };
		assert.equal(0, status);
		assert.truthy(text:match("^metre %d+%.%d+%.%d+ for Lua 5%.%d\n$"), text);
		assert.same({ 0, text }, { metre { "version" } });
		status, text = metre { "help" };
		assert.equal(0, status);
		has(text, "Exit status: 0 if all is well, 1 if there are mistakes");
		assert.same({ 0, text }, { metre { "--help" } });
		for _, name in ipairs { "check", "explain", "help" } do
			status, text = metre { "help", name };
			assert.equal(0, status);
			has(text, "metre " .. name);
			assert.same({ 0, text }, { metre { name, "--help" } });
		end
		status, text = metre { "help", "chekc" };
		assert.equal(2, status);
		has(text, "metre: no command is called chekc\n");
		assert.equal(2, (metre {}));
	end);

	it("reads a table from standard input", function ()
		for _, form in ipairs { "%s", "return %s", "\n  %s\n" } do
			local status, text = metre({ "check", "-" }, form:format("{ exporter = { listn = 1 } }"));
			assert.equal(1, status);
			has(text, "standard input: statistics_config: unknown key 'exporter.listn' (given: the number 1); did you mean 'listen'?");
			assert.same({ 0, "standard input: no mistakes found\n" },
				{ metre({ "check", "-" }, form:format("{ statsd = ENV_METRE_NOT_SET, labels = { a = 'b' } }")) });
		end
		local status, text = metre({ "check", "-" }, "{ labels = FileContents('/nonexistent/file') }");
		assert.equal(1, status);
		has(text, "/nonexistent/file: No such file or directory");
		status, text = metre({ "check", "-" }, "{ labels = nothing.at.all }");
		assert.equal(1, status);
		has(text, "metre: standard input: ");
		assert.same({ 0, "standard input: no mistakes found\n" }, { metre({ "check", "-" }, "{ labels = { a = Credential('x') } }") });
		status, text = metre({ "explain", "--config", "-", "--type", "gauge", "x" }, "{ rule = { { match = 'x', max_series = 3 } } }");
		assert.equal(0, status);
		has(text, "max_series = 3    (rule 1)");
		-- The type of metre's own families is known.
		local rule = "{ rule = { { match = 'prosody_c2s_auth_*', type = 'counter', idle_ttl = 60 } } }";
		for _, name in ipairs { "prosody_c2s_auth_attempts", "prosody_c2s_auth_attempts_total" } do
			status, text = metre({ "explain", "--config", "-", name }, rule);
			assert.equal(0, status);
			has(text, name .. " as a counter:\n");
			has(text, "idle_ttl = 1m    (rule 1)");
			status, text = metre({ "explain", "--config", "-", "--type", "gauge", name }, rule);
			assert.equal(0, status);
			has(text, name .. " as a gauge:\n");
		end
	end);

	it("reads TOML from standard input", function ()
		local status, text = metre({ "check", "-" }, "[exporter]\nlisten = '127.0.0.1:1'\nbogus = 1\n");
		assert.equal(1, status);
		assert.truthy(text:match("^standard input, line 3: unknown key 'exporter.bogus'"), text);
		assert.same({ 0, "standard input: no mistakes found\n" }, { metre({ "check", "-" }, "[exporter]\nmax_connections = 7\n") });
	end);

	it("warns of a collection that outlasts scrapes", function ()
		for timeout, warns in pairs { ["1"] = false, ["9.9"] = false, ["10"] = true, ["'1m'"] = true } do
			local status, text = metre({ "check", "-" }, "{ exporter = { collect_timeout = " .. timeout .. " } }");
			assert.equal(0, status);
			assert.equal(warns, text:find("warning: 'exporter.collect_timeout' is ", 1, true) ~= nil, text);
			has(text, "standard input: no mistakes found\n");
		end
	end);

	it("finds a token file that can't be read", function ()
		local function check(path)
			return metre({ "check", "-" }, ("{ exporter = { bearer_token_file = %q } }"):format(path));
		end
		local status, text = check("/nonexistent/token");
		assert.equal(1, status);
		has(text, "'exporter.bearer_token_file' cannot be read, so nobody would get metrics: /nonexistent/token: No such file or directory");
		file("any", "");
		status, text = check(directory);
		assert.equal(1, status);
		has(text, "cannot be read, so nobody would get metrics: " .. directory .. ": Is a directory");
		status, text = check(file("token", "abc\n"));
		assert.equal(0, status);
		has(text, "note: files were looked at as the user ");
		has_not(text, "abc");
	end);
end);

if not has_prosody then
	describe("the command on Prosody's configuration", function ()
		teardown(remove_files);

		it("says what to do where Prosody's own files can't be loaded, or reads it", function ()
			local _, text = metre { "check", file("prosody.cfg.lua", 'statistics = ":metre"\n') };
			assert.truthy(text:find("give metre's TOML file instead", 1, true) or text:find("no mistakes found", 1, true), text);
			assert.truthy(#text < 2000);
		end);
	end);
	return;
end

-- Checks what stands in Prosody's configuration; from a file, and from standard input.
local function check(text)
	local path = file("prosody.cfg.lua", 'statistics = ":metre"\n' .. text .. "\n");
	local status, printed = metre { "check", path };
	local of_input, same = metre({ "check", "-" }, 'statistics = ":metre"\n' .. text .. "\n");
	assert.same({ status, #printed:gsub("[^\n]", "") }, { of_input, #same:gsub("[^\n]", "") }, same);
	return status, printed;
end

describe("the command on Prosody's configuration", function ()
	teardown(remove_files);

	it("finds keys beside statistics_config", function ()
		for key, value in pairs {
			exporter = "{}", statsd = "'localhost'", rule = "{ { match = '*' } }", openmetrics = "{}", self_metrics = "false",
			process_metrics = "false", operator = "false",
			statsd_server = "'localhost'", statsd_port = "1", config_file = "'/x.toml'", collect_interval = "1",
			limits = "{ max_families = 4 }", labels = "{ cluster = 'eu' }",
		} do
			local status, text = check(key .. " = " .. value);
			assert.equal(1, status, key);
			has(text, ("'%s' stands beside 'statistics_config', where it has no effect; move it into 'statistics_config'\n"):format(key));
		end
		local status, text = check("rules = { { match = '*' } }");
		assert.equal(1, status);
		has(text, "move it into 'statistics_config', as 'rule'\n");
		status, text = check("VirtualHost 'a.example'\nexporter = {}");
		assert.equal(1, status);
		has(text, "'exporter' stands after the VirtualHost or Component \"a.example\", where it has no effect; ");
	end);

	it("leaves others' options alone", function ()
		local status, text = check([[
			limits = { c2s = { rate = "10kb/s" }, s2sin = { rate = "30kb/s" } }
			rules = { "a" }
			prefix = "x"
			VirtualHost "a.example"
			limits = { c2s = { burst = "2s" } }
		]]);
		assert.same({ 0, true }, { status, text:find("no mistakes found", 1, true) ~= nil }, text);
	end);

	it("finds intervals that Prosody doesn't understand", function ()
		for interval, hint in pairs {
			['"30s"'] = '"30s"; allowed: a number of seconds above 0, or "manual"; did you mean 30?',
			['"2 min"'] = '"2 min"; allowed: a number of seconds above 0, or "manual"; did you mean 120?',
			['"Manual"'] = '"Manual"; allowed: a number of seconds above 0, or "manual"; did you mean "manual"?',
			['"often"'] = '"often"; allowed: a number of seconds above 0, or "manual"\n',
			["0"] = '0; allowed: a number of seconds above 0, or "manual"\n',
			["true"] = 'true; allowed: a number of seconds above 0, or "manual"\n',
		} do
			local status, text = check("statistics_interval = " .. interval);
			assert.equal(1, status, interval);
			has(text, "'statistics_interval' is " .. hint);
		end
		for _, interval in ipairs { "30", '"30"', "0.5", '"manual"', "nil" } do
			assert.equal(0, (check("statistics_interval = " .. interval)), interval);
		end
	end);

	local function listening(on, more)
		return check(('statistics_config = { exporter = %s }\n%s'):format(on, more or ""));
	end

	it("finds ports that Prosody has", function ()
		for _, case in ipairs {
			{ '"127.0.0.1:5222"', "", "c2s_ports', by default" },
			{ '"[::1]:5269"', "", "s2s_ports', by default" },
			{ '"0.0.0.0:5280"', 'modules_enabled = { "http_openmetrics" }', "http_ports', by default" },
			{ '"192.0.2.1:5281"', 'modules_enabled = { "bosh" }', "https_ports', by default" },
			{ '"127.0.0.1:5280"', 'Component "files.example" "http_file_share"', "http_ports', by default" },
			{ '"127.0.0.1:5347"', 'Component "gateway.example"', "component_ports', by default" },
			{ '"127.0.0.1:5000"', 'Component "proxy.example" "proxy65"', "proxy65_ports', by default" },
			{ '"127.0.0.1:5582"', 'modules_enabled = { "admin_telnet" }', "console_ports', by default" },
			{ '"127.0.0.1:9469"', "http_ports = { 80, 9469 }", "http_ports'" },
			{ '"127.0.0.1:9469"', "c2s_direct_tls_ports = 9469", "c2s_direct_tls_ports'" },
			{ '"127.0.0.1:9469"', 'something_ports = { "9469" }', "something_ports'" },
			{ '{ "unix:/run/x", "127.0.0.1:9469" }', "c2s_ports = { 9469 } interfaces = { '127.0.0.1' }", "c2s_ports'" },
		} do
			local status, text = listening(case[1], case[2]);
			assert.equal(1, status, case[1]);
			has(text, "where Prosody itself listens ('" .. case[3] .. "); give one of them another port\n");
			assert.equal(1, select(2, text:gsub("\n", "")), text);
		end
	end);

	it("leaves ports alone that nobody else has", function ()
		for _, case in ipairs {
			{ '"127.0.0.1:9469"', "" },
			{ '"127.0.0.1:5280"', "" },
			{ '"127.0.0.1:5222"', "c2s_ports = { 5223 }" },
			{ '"127.0.0.1:5222"', "c2s_ports = { }" },
			{ '"127.0.0.1:5269"', 'modules_disabled = { "s2s" }' },
			{ '"127.0.0.1:5222"', 'interfaces = { "192.0.2.1" }' },
			{ '"127.0.0.1:5222"', 'c2s_interfaces = { "::" }' },
			-- A private one is on this machine only.
			{ '"192.0.2.1:5280"', 'modules_enabled = { "bosh" }' },
			{ '"unix:/run/5222"', "" },
		} do
			local status, text = listening(case[1], case[2]);
			assert.equal(0, status, text);
		end
	end);

	it("takes what Prosody 13 has for configurations, and says so on an older one", function ()
		local path = file("secret", "first\nsecond\n");
		local status, text = check(([[
			name = FileLine(%q) .. #FileLines(%q) .. #FileContents(%q)
			password = Credential("nothing")
			host = ENV_METRE_NOT_SET
			statistics_config = { labels = { cluster = FileLine(%q) } }
		]]):format(path, path, path, path));
		local version = assert(io.open("/usr/lib/prosody/prosody.version")):read("*l");
		if version:match("^0%.") then
			assert.equal(1, status);
			for _, name in ipairs { "Credential", "FileContents", "FileLine", "FileLines" } do
				has(text, ("'%s' is for Prosody 13 and later; this one, %s, does not start with it\n"):format(name, version));
			end
			assert.equal(4, select(2, text:gsub("\n", "")), text);
		else
			assert.equal(0, status, text);
			has(text, "warning: Credential() requires the $CREDENTIALS_DIRECTORY");
		end
		has_not(text, "first");
		assert.is_nil(rawget(_G, "FileLine"));
		assert.is_nil(rawget(_G, "prosody"));
	end);

	it("tells what is said twice, and what can't be read at all", function ()
		local status, text = check("statistics_config = {}\nstatistics_config = { labels = { a = 'b' } }");
		assert.equal(0, status);
		has(text, "Duplicate option 'statistics_config'");
		for _, broken in ipairs { "statistics_config = {", "error('on purpose')", "error({})", "Include 'nonexistent/x.cfg.lua'" } do
			status, text = metre { "check", file("broken.cfg.lua", broken .. "\n") };
			assert.equal(1, status);
			assert.truthy(text:match("^metre: " .. directory:gsub("%p", "%%%0") .. "/broken%.cfg%.lua: "), text);
		end
	end);
end);
