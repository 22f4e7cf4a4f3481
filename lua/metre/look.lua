-- What goes wrong most with metre in Prosody's configuration, beyond what metre's own reader of it finds.

local files = require "metre.files";
local native = require "metre.native";
local look_at_ports = require "metre.ports";

-- A scrape that takes as long as this counts as failed with Prometheus' own settings, in seconds.
local scrape_timeout = 10;

local function has_key(options, pattern)
	for key in pairs(options) do
		if type(key) == "string" and key:match(pattern) then
			return true;
		end
	end
	return false;
end

-- Some words are also Prosody's or a module's: then it is the value that tells whether metre's were meant.
local are_meant = {
	limits = function (value) -- mod_limits has them for each kind of session
		return has_key(value, "^max_");
	end;
	labels = function (value)
		return next(value) ~= nil;
	end;
	rule = function (value)
		return value.match ~= nil or type(value[1]) == "table" and value[1].match ~= nil;
	end;
};
are_meant.rules = are_meant.rule;

local function is_meant(key, value)
	if are_meant[key] then
		return type(value) == "table" and are_meant[key](value);
	end
	return key ~= "prefix"; -- anybody's
end

local of_prosody = { "statistics", "statistics_config", "statistics_interval" };

-- Keys that stand where nobody looks for them: beside `statistics_config`, or after a VirtualHost or a Component.
local function look_for_misplaced(given)
	local keys = { "rules" };
	for _, key in ipairs(native.keys) do
		keys[#keys + 1] = key;
	end
	local found = {};
	for host, options in pairs(given.hosts) do
		local after = ("after the VirtualHost or Component \"%s\""):format(host);
		for _, key in ipairs(of_prosody) do
			if host ~= "*" and rawget(options, key) ~= nil then
				table.insert(found, ("'%s' stands %s, where it has no effect; move it above the first one"):format(key, after));
			end
		end
		for _, key in ipairs(keys) do
			local value = rawget(options, key);
			if value ~= nil and is_meant(key, value) then
				table.insert(found, ("'%s' stands %s, where it has no effect; move it into 'statistics_config'%s"):format(
					key, host == "*" and "beside 'statistics_config'" or after, key == "rules" and ", as 'rule'" or ""));
			end
		end
	end
	table.sort(found);
	for _, problem in ipairs(found) do
		table.insert(given.problems, problem);
	end
end

-- Whether Prosody uses metre, for those who thought so.
local function look_at_provider(given)
	local statistics = given.statistics;
	if statistics == ":metre" or statistics == ":metre.statsd" then
		return;
	elseif statistics == "metre" or statistics == "metre.statsd" then
		table.insert(given.problems, ('\'statistics\' is "%s"; did you mean ":%s"?'):format(statistics, statistics));
	elseif #given.problems == 0 then
		table.insert(given.notes, "statistics is " .. (statistics and ("%q"):format(tostring(statistics)) or "not set")
			.. ", so Prosody does not use metre");
	end
end

-- Prosody takes 60 seconds for what it doesn't understand.
local function look_at_interval(given)
	local interval = given.options.statistics_interval;
	local seconds = tonumber(interval);
	if interval == nil or interval == "manual" or seconds and seconds > 0 then
		return;
	end
	local text = type(interval) == "string" and interval;
	local number, unit = (text or ""):match("^%s*(%d+)%s*([smh]?)");
	local hint = "";
	if text and text:lower():match("^%s*manual%s*$") then
		hint = '; did you mean "manual"?';
	elseif number and not seconds then
		hint = "; did you mean " .. ("%d"):format(tonumber(number) * (({ m = 60, h = 3600 })[unit] or 1)) .. "?";
	end
	table.insert(given.problems, ("'statistics_interval' is %s; allowed: a number of seconds above 0, or \"manual\"%s"):format(
		text and ("%q"):format(text) or tostring(interval), hint));
end

local function look_at_timeout(given, outline)
	if outline.collect_timeout and outline.collect_timeout >= scrape_timeout then
		table.insert(given.warnings, ("'exporter.collect_timeout' is %g s: while Prosody's thread stands still a scrape waits that long, "
			.. "unless its scraper says, as Prometheus does, how long it waits; others give up after some %d s; 1 is the default")
			:format(outline.collect_timeout, scrape_timeout));
	end
end

local function look_at_token(given, outline)
	if not outline.token_file then
		return;
	end
	local text, err = files.contents(outline.token_file);
	if not text then
		table.insert(given.problems, ("'exporter.bearer_token_file' cannot be read, so nobody would get metrics: %s"):format(err));
	end
	local prosodys = given.options and given.options.prosody_user or "prosody";
	local user = files.user();
	if user and user ~= prosodys then
		table.insert(given.notes, ("files were looked at as the user %s; whether Prosody's user may read them is told by: "
			.. "sudo -u %s metre check"):format(user, prosodys));
	end
end

-- Adds to the problems, warnings and notes of a configuration.
return function (given)
	if given.from_prosody then
		look_for_misplaced(given);
		look_at_interval(given);
		look_at_provider(given);
	end
	local outline = native.outline(given.config, given.statistics == ":metre.statsd");
	if outline then
		look_at_timeout(given, outline);
		look_at_token(given, outline);
		if given.from_prosody then
			look_at_ports(given, outline.listen);
		end
	end
end
