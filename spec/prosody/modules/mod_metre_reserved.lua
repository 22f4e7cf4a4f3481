-- Has metrics and labels whose names belong to whoever reads the page.

local metric = require "core.statsmanager".metric;

metric("gauge", "up", "", "A lift"):with_labels():set(5);
metric("gauge", "scrape_samples_scraped", "", "Ice"):with_labels():set(6);
metric("counter", "ALERTS", "", "Bells"):with_labels():add(7);
metric("summary", "reserved_summary", "", "Runs of a race", { "quantile" }):with_labels("x"):sample(8);
metric("histogram", "reserved_histogram", "", "The same", { "quantile", "le", "__name__" }, { buckets = { 1 } })
	:with_labels("x", "y", "z"):sample(9);
metric("summary", "reserved_times", "seconds", "A clock that is set back"):with_labels():sample(-4e-7);
metric("summary", "reserved_steps", "", "Up and down"):with_labels():sample(-2);
