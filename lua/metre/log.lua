-- Logging through Prosody, from its own thread. Without Prosody warnings and errors go to stderr.

local has_logger, logger = pcall(require, "util.logger");
if has_logger then
	return logger.init("metre");
end

local shown = { warn = true, error = true };

return function (level, message, ...)
	if shown[level] then
		io.stderr:write("metre: ", level, ": ", message:format(...), "\n");
	end
end
