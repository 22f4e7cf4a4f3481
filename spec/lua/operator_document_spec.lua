-- docs/operator.md lists the families of the operator pack as they are.

local families = require "metre.operator.families";

local function contents(path)
	local file = assert(io.open(path));
	local text = file:read("*a");
	file:close();
	return text;
end

-- The name of a family's samples on the page, without suffixes of histograms.
local function name_on_page(name, family)
	return family.type == "counter" and name .. "_total" or name;
end

describe("docs/operator.md", function ()
	local text = contents("docs/operator.md");

	it("has a row for each family, and for no other", function ()
		local rows, expected = {}, {};
		for name, kind, labels in text:gmatch("| `([%w_]+)` | (%l+) | ([^|\n]-) |\n") do
			rows[name] = kind .. " " .. labels;
		end
		for name, family in pairs(families) do
			local labels = {};
			for i, label in ipairs(family.labels or {}) do
				labels[i] = "`" .. label .. "`";
			end
			expected[name_on_page(name, family)] = family.type .. " " .. table.concat(labels, ", ");
		end
		assert.same(expected, rows);
	end);

	it("says of each family more than its name", function ()
		local questions = text:match("^(.-)\n## All metrics");
		for name in pairs(families) do
			assert.is_truthy(questions:find(name, 1, true), name .. " answers no question");
		end
	end);

	it("names only families that are there", function ()
		for name in text:gmatch("prosody_[%w_]+") do
			local base = name:gsub("_total$", ""):gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "");
			assert.is_truthy(name:match("^prosody_mod_") or families[base] or families[name], name);
		end
	end);

	it("names all causes, results and outcomes", function ()
		for name, family in pairs(families) do
			for label, values in pairs(family.values or {}) do
				for _, value in ipairs(label == "condition" and {} or values) do
					assert.is_truthy(text:find(value, 1, true), name .. " has " .. value);
				end
			end
		end
	end);
end);
