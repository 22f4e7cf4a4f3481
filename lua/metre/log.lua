-- Logging through Prosody, from its own thread. Without Prosody warnings and errors go to stderr. Never raises, whatever
-- the logger does.

local shown = { warn = true, error = true };

local function to_stderr(level, message, ...)
	if shown[level] then
		io.stderr:write("metre: ", level, ": ", message:format(...), "\n");
	end
end

local has_logger, logger = pcall(require, "util.logger");
local write = has_logger and logger.init("metre") or to_stderr;

return function (...)
	pcall(write, ...);
end
