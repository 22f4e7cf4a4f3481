-- Has Prosody 0.12's own resolver ask a DNS server of the test, at another port than 53.

local port = module:get_option_number("test_dns_port");
local methods = getmetatable(require "net.adns".resolver()._resolver).__index;

module:set_global();

-- It waits for up to a second before each question.
methods.jitter = nil;

function methods:adddefaultnameservers()
	self:addnameserver("127.0.0.1");
end

local set_wrapper = methods.socket_wrapper_set;
function methods:socket_wrapper_set(wrap)
	set_wrapper(self, function (...)
		local socket, err = wrap(...);
		if socket then
			local connect = socket.setpeername;
			function socket.setpeername(this, address)
				return connect(this, address, port);
			end
		end
		return socket, err;
	end);
end
