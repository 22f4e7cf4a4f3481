-- How long operations on stores take, and which of them fail.
--
-- Stores come from storage drivers, also those of mod_pep and mod_pubsub, which tell nobody that they open any. So what
-- counts is what a driver opens, from the moment at which its module provides it.

local stores = require "metre.operator.stores";

-- Before storagemanager's.
local first = 1000;

local durations, errors = "prosody_storage_operation_duration_seconds", "prosody_storage_operation_errors";

-- Series of durations that have a store's name, and how many of them stores can have that nobody here knows.
local most, most_unknown = 14, 6;
local known = {
	accounts = true; archive = true; muc_log = true; offline = true; pep = true; pubsub = true; roster = true; vcard = true;
};

-- What Prosody notes for itself, and nobody waits for.
local housekeeping = { cron = true; archive_cleanup = true; muc_log_cleanup = true };

-- Names of stores that are told apart. There are fewer, unless a module makes names of what it is sent.
local most_names = 64;

-- What stores answer that work: nothing is there, a user's quota is full, or the configuration says that nothing is stored.
local answers = { ["item-not-found"] = true; ["quota-limit"] = true; ["Storage disabled"] = true };

return function (pack)
	if not pack.options.storage then
		return;
	end

	local names, name_count = {}, 0;
	local function label_of(name)
		if type(name) ~= "string" or housekeeping[name] then
			return "other";
		end
		local label = known[name] and name or names[name];
		if label then
			return label;
		end
		-- What follows is what a client has called it.
		label = name:match("^(pep)_") or name:match("^(pubsub)_");
		if label then
			return label;
		elseif name_count == most_names then
			return "other";
		end
		name_count = name_count + 1;
		label = name:sub(1, 32):gsub("[^%w_-]", "_");
		names[name] = label;
		return label;
	end

	-- Metrics by label and operation. What there is no room for is together with others: of the same operation first, of all last.
	local metrics, count, unknown = {}, 0, 0;
	local function has_room(label)
		return count < most and (known[label] or unknown < most_unknown) and pack:has_room(durations);
	end
	-- The metric, and the label that it has.
	local function duration_of(label, operation)
		local key = label .. " " .. operation;
		local metric = metrics[key];
		if metric then
			return metric, label;
		elseif label ~= "other" then
			if not has_room(label) then
				return duration_of("other", operation);
			end
			count = count + 1;
			unknown = unknown + (known[label] and 0 or 1);
		elseif operation ~= "other" and not pack:has_room(durations) then
			return duration_of("other", "other");
		end
		metric = pack:metric(durations, label, operation);
		metrics[key] = metric;
		return metric, label;
	end
	duration_of("other", "other");

	-- By name: hosts with their metrics of errors.
	local hosts = {};
	pack:on_host("storage", function (name)
		hosts[name] = { name = name, errors = {} };
	end, function (name)
		hosts[name].errors = nil; -- stores may be used even then
		hosts[name] = nil;
	end);
	local function errors_of(host, label, operation)
		local key = label .. " " .. operation;
		local metric = host.errors[key];
		if not metric then
			if label ~= "other" and not pack:has_room(errors, true) then
				return errors_of(host, "other", operation);
			end
			metric = pack:metric(errors, host.name, label, operation);
			host.errors[key] = metric;
		end
		return metric;
	end

	local failed = pack:guard("storage", function (call, err)
		local host = call.driver.host;
		if host.errors and not answers[type(err) == "table" and rawget(err, "condition") or err] then
			errors_of(host, call.counted_as, call.operation):add(1);
		end
	end);
	-- At the first call of an operation, with its errors beginning at zero if there is room before there are any.
	local prepare = pack:guard("storage", function (call)
		local duration, label = duration_of(call.label, call.operation);
		local host = call.driver.host;
		if host.errors and pack:has_room(errors) then
			errors_of(host, label, call.operation);
		end
		call.counted_as = label;
		call.stop = pack:stop_of(durations, duration, function (err)
			failed(call, err);
		end);
	end);

	local watch = stores.new(pack.now, prepare);
	local watch_opened = pack:guard("storage", function (driver, name, store)
		if type(store) == "table" then
			watch(driver, label_of(name), store);
		end
	end);
	local function opened(driver, name, ...)
		watch_opened(driver, name, ...);
		return ...;
	end

	-- Modules may add the same driver again, or on another host.
	local drivers = setmetatable({}, { __mode = "k" });
	pack:hook_hosts("storage", "item-added/storage-provider", function (event, host)
		local item = event.item;
		local open = type(item) == "table" and item.open;
		if not open then
			return;
		end
		local driver = drivers[item];
		if driver then
			driver.host = hosts[host];
			for call in pairs(driver.calls) do
				call.stop = nil; -- all begins anew
			end
			return;
		end
		driver = { host = hosts[host], metatables = {}, calls = setmetatable({}, { __mode = "k" }) };
		drivers[item] = driver;
		rawset(item, "open", function (...)
			return opened(driver, (select(2, ...)), open(...));
		end);
	end, first);
end;
