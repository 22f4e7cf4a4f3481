-- Tells of the process itself, as mod_measure_process does: a counter and a gauge that metre has as well.

local metric = require "core.statsmanager".metric;

metric("counter", "process_cpu", "seconds", "The module's own"):with_labels():set(12345);
metric("gauge", "process_open_fds", "", "The module's own"):with_labels():set(-1);
