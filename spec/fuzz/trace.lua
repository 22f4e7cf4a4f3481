-- The last operations, in a file that a crash leaves behind: the number of each, and what it was about to do.

local slots, width = 64, 300;

local jit = rawget(_G, "jit");

local trace = { count = 0 };
local file;

-- Objects by the names that they have in the trace.
trace.names = setmetatable({}, { __mode = "k" });

function trace.open(name)
	file = assert(io.open(name, "wb"));
	file:setvbuf("no");
end

-- A value as it stands in the trace. Asks no metamethods.
function trace.describe(value)
	local kind = type(value);
	if kind == "string" then
		local text = #value > 30 and value:sub(1, 30) .. "...(" .. #value .. ")" or value;
		return ('"' .. text:gsub("[^\32-\126]", function (char) return ("\\%03d"):format(char:byte()); end) .. '"');
	elseif kind == "number" then
		return ("%.17g"):format(value);
	elseif value == nil or kind == "boolean" then
		return tostring(value);
	end
	return trace.names[value] or kind;
end

function trace.list(values, from)
	local texts = {};
	for i = from or 1, math.min(values.n, 12) do
		table.insert(texts, trace.describe(values[i]));
	end
	if values.n > 12 then
		table.insert(texts, ("... %d values"):format(values.n));
	end
	return table.concat(texts, ", ");
end

-- Notes what is about to happen.
function trace.note(text)
	trace.count = trace.count + 1;
	if file then
		local line = ("%010d %s"):format(trace.count, (text:gsub("[^\32-\126]", "?"))):sub(1, width - 1);
		file:seek("set", trace.count % slots * width);
		file:write(line, (" "):rep(width - 1 - #line), "\n");
	end
end

-- Keeps LuaJIT from compiling what traverses tables. Debian 12's (of March 2022) may repeat one step of a compiled traversal
-- for ever, which was mended in August 2023 ("Ensure forward progress on trace exit to BC_ITERN").
function trace.traverses(f)
	if jit then
		jit.off(f);
	end
	return f;
end

return trace;
