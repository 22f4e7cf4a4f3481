-- How far quantiles are off, against sorting, on samples of several shapes. Prints for each the shape, a tab, which quantile, a tab, and
-- the relative error in %.

local asked = { 0.5, 0.9, 0.99, 0.999 };
local registry = require "providers".metre { rule = { { match = "*", quantiles = asked } } };
local random = math.random;
math.randomseed(1);

local function normal()
	return math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random());
end

local shapes = {
	{ "log-normal, sigma 2.5", function () return math.exp(2.5 * normal()) / 1000; end };
	{ "Pareto, alpha 0.9", function () return 0.001 * (1 - random()) ^ (-1 / 0.9); end };
	{ "exponential", function () return -0.05 * math.log(1 - random()); end };
	{ "2 % at 30 s, the rest at 0.1 ms", function () return random() < 0.02 and 30 + random() or 1e-4 * (1 + random()); end };
};

for number, shape in ipairs(shapes) do
	local metric = registry:summary("error" .. number, "", ""):with_labels();
	local samples = {};
	for i = 1, 1e6 do
		samples[i] = shape[2]();
		metric:sample(samples[i]);
	end
	table.sort(samples);
	for _, extra, value in metric:iter_samples() do
		local quantile = extra and tonumber(extra.quantile);
		if quantile then
			local exact = samples[math.ceil(quantile * #samples)];
			print(("%s\tp%g\t%.4f"):format(shape[1], 100 * quantile, 100 * math.abs(value / exact - 1)));
		end
	end
end
