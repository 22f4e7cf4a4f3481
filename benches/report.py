"""What a run of benchmarks has found: shown as it comes, and kept for target/bench.json."""

import json
import os
import pathlib
import platform
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def _said(*command):
    """The first line of what a command prints, wherever it prints it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return "none"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def machine():
    """What was measured, and on what."""
    processor = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "processor": processor.group(1) if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "rustc": _said("rustc", "--version"),
        "lua": [_said(lua, "-v") for lua in ("lua5.1", "lua5.2", "lua5.3", "lua5.4", "luajit")],
        "prosody": _said("dpkg-query", "-W", "-f", "${Version}", "prosody"),
    }


def shown(value):
    """A cell of a table: three digits are enough for anybody."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def markdown(columns, rows):
    """A table as it stands in a page."""
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    return "\n".join(lines + ["| " + " | ".join(shown(value) for value in row) + " |" for row in rows])


class Report:
    """The tables of a run, by part."""

    def __init__(self):
        # Before the run changes any file.
        self.machine = machine()
        self.parts = {}
        self.part = None
        self.text = []

    def begin(self, part, title):
        """What follows is of this part."""
        self.part = self.parts.setdefault(part, [])
        self._show(f"## {title}")

    def _show(self, text):
        self.text.append(text)
        print(text + "\n", flush=True)

    def table(self, title, columns, rows):
        """A table; the first column names what a row is about."""
        rows = [list(row) for row in rows]
        self.part.append({"title": title, "columns": list(columns), "rows": rows})
        self._show(title)
        self._show(markdown(columns, rows))

    def say(self, text):
        """A sentence that belongs to the figures."""
        self.part.append({"text": text})
        self._show(text)

    def write(self, path):
        """Writes all that was found. Parts that were not run this time stay as they were."""
        path = pathlib.Path(path)
        parts = json.loads(path.read_text())["parts"] if path.exists() else {}
        for name, tables in self.parts.items():
            parts[name] = {"machine": self.machine, "found": tables}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"parts": parts}, indent=1) + "\n")

    def write_page(self, path):
        """Writes all that was shown as a page."""
        about = {**self.machine, "lua": ", ".join(version.split("  ")[0].split(" --")[0] for version in self.machine["lua"])}
        lines = "\n".join(f"- {name}: {value}" for name, value in about.items())
        head = f"# Figures\n\nWhat `make bench` has shown; `target/bench.json` has the same. [Performance](performance.md) says what it means.\n\n{lines}"
        pathlib.Path(path).write_text("\n\n".join([head, *self.text]) + "\n")
