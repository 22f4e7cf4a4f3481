"""All benchmarks: shows tables, and keeps them in target/bench.json. Usage: bench.py [PART...]; without one, all of them, and then
docs/figures.md is written, too.
"""

import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "spec/prosody"))

from report import ROOT, Report  # noqa: E402

# In the order of the pages that show them. Each is a module with a TITLE and run(report).
PARTS = ["calls", "render", "statsd", "memory", "start", "server", "exporter", "scrapes", "policy", "operator", "instructions"]
# Those whose name is that of one of Python's own modules.
MODULES = {"operator": "operator_pack"}


def main():
    wanted = sys.argv[1:] or PARTS
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        sys.exit(f"bench.py: no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    report = Report()
    for part in wanted:
        module = importlib.import_module(MODULES.get(part, part))
        report.begin(part, module.TITLE)
        try:
            module.run(report)
        finally:
            report.write(ROOT / "target/bench.json")
    if wanted == PARTS:
        report.write_page(ROOT / "docs/figures.md")


main()
