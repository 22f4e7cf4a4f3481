-- Files, as the `metre` command and Prosody's configuration read them.

local function is_readable(name)
	local file = io.open(name);
	if file then
		file:close();
	end
	return file ~= nil;
end

-- What is in a file; or nil and why not. A directory can be opened, but not read.
local function contents(name)
	local file, err = io.open(name, "rb");
	if not file then
		return nil, err;
	end
	local text;
	text, err = file:read("*a");
	file:close();
	return text, err and name .. ": " .. err;
end

local function working_directory()
	local found, lfs = pcall(require, "lfs");
	return found and lfs.currentdir() or os.getenv("PWD");
end

-- A relative name from the root on, since Prosody looks for included files from there.
local function absolute(name, directory)
	if name:match("^/") then
		return name;
	end
	directory = directory or working_directory();
	return directory and directory .. "/" .. name:gsub("^%./", "") or name;
end

-- The functions that Prosody 13 has for this, by their names: relative files lie in the directory of the configuration. A file that
-- can't be read is an error there, and here.
local function readers(directory)
	local function text(name)
		local found, err = contents(absolute(name, directory));
		return found or error(err, 3);
	end
	return {
		FileContents = text;
		FileLine = function (name)
			return (text(name):match("^[^\n]*"));
		end;
		FileLines = function (name)
			local lines = {};
			for line in text(name):gmatch("([^\n]*)\n?") do
				lines[#lines + 1] = line;
			end
			if lines[#lines] == "" then
				lines[#lines] = nil;
			end
			return lines;
		end;
		-- The command seldom runs where Prosody's service does: then there are none.
		Credential = function (name)
			local credentials = os.getenv("CREDENTIALS_DIRECTORY");
			return credentials and text(credentials .. "/" .. name) or nil;
		end;
	};
end

-- The name of the user that this runs as; nil if that can't be known.
local function user()
	local pipe = io.popen("id -un 2>/dev/null");
	local name = pipe and pipe:read("*l");
	if pipe then
		pipe:close();
	end
	return name ~= "" and name or nil;
end

return {
	absolute = absolute;
	contents = contents;
	is_readable = is_readable;
	readers = readers;
	user = user;
	working_directory = working_directory;
};
