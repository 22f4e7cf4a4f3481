-- A statsd server in this process: a real socket whose lines are read by the strictest rules.

local socket = require "socket";

local methods = {};
local mt = { __index = methods };

-- The datagrams that have come in. On loopback they are there once they are sent.
function methods:datagrams()
	local list = {};
	while true do
		local datagram = self.socket:receive();
		if not datagram then
			return list;
		end
		table.insert(list, datagram);
	end
end

-- All lines that have come in.
function methods:lines()
	local lines = {};
	for _, datagram in ipairs(self:datagrams()) do
		for line in (datagram .. "\n"):gmatch("([^\n]*)\n") do
			table.insert(lines, line);
		end
	end
	return lines;
end

-- Adds what has come in to totals: the sum of a counter's steps, a gauge's last value, by name and type.
function methods:count(totals)
	for _, line in ipairs(self:lines()) do
		local name, value, kind = line:match("^(.-):([^:|]*)|(%a)$");
		local number = assert(tonumber(value), "not a line: " .. line);
		local key = name .. "|" .. kind;
		totals[key] = kind == "c" and (totals[key] or 0) + number or number;
	end
	return totals;
end

function methods:close()
	self.socket:close();
end

-- On the given port, or on any.
local function new(given)
	local server = assert(socket.udp4());
	assert(server:setsockname("127.0.0.1", given or 0));
	server:settimeout(0);
	local _, port = server:getsockname();
	return setmetatable({ socket = server, port = tonumber(port) }, mt);
end

return new;
