"""How costs grow with the number of series: a table, and docs/growth.svg.

One process a turn, processor time, one family of counters with the labels host and user. "new" is the mean cost of making that many
series, "held" an add on one of 1,000 handles, "found" with_labels of any of the series and an add, both in random order; a page is
`registry:render()`.

SIZES="1000 10000" measures these only, and makes no plot. Prosody's own with a million series, whose page takes 15 seconds, is
measured once. ROUNDS=3 is the default.
"""

import functools
import os

import plot
from report import ROOT
from turns import medians, run_lua

TITLE = "Growth"
ROUNDS = int(os.environ.get("ROUNDS", 3))
ALL_SIZES = [1_000, 10_000, 100_000, 1_000_000]
SIZES = [int(size) for size in os.environ.get("SIZES", "").split()] or ALL_SIZES
ONCE = 1_000_000
PROVIDERS = {"Prosody's": "prosody", "metre": "metre"}
CALLS = {"held": "counter add", "found": "with_labels + add", "new": "new series"}


def measured(provider, size):
    """Costs of calls in ns, of a page in ms, and resident bytes a series."""
    memory = run_lua("5.4", "memory.lua", provider, "counter", size)
    return {**run_lua("5.4", "growth.lua", provider, size), "resident": memory["private"]}


def measure():
    """Medians by size, then provider, then what is measured."""
    found = {}
    for size in SIZES:
        runners = {name: functools.partial(measured, provider, size) for name, provider in PROVIDERS.items()}
        if size >= ONCE:
            runners["Prosody's"] = functools.cache(runners["Prosody's"])
        found[size] = medians(ROUNDS, runners)
    return found


def draw(found):
    """Two panels: calls, and pages."""

    def line(name, what, label):
        return plot.Line(f"{label}, {name}", [(size, found[size][name][what]) for size in SIZES], list(PROVIDERS).index(name))

    return plot.svg([
        plot.Panel("ns a call", [line(name, what, label) for what, label in CALLS.items() for name in PROVIDERS]),
        plot.Panel("ms a page", [line(name, "page", "page") for name in PROVIDERS]),
    ], "series")


def run(report):
    found = measure()

    def rows(whats):
        for what, label in whats.items():
            for name in PROVIDERS:
                yield [f"{label}, {name}", *(found[size][name][what] for size in SIZES)]

    sizes = [f"{size:,} series" for size in SIZES]
    report.table(f"Calls, medians of {ROUNDS}", ["ns", *sizes], rows(CALLS))
    report.table("A page", ["ms", *sizes], rows({"page": "page"}))
    report.table("A page, for each series", ["ns", *sizes], (
        [f"page, {name}", *(found[size][name]["page"] * 1e6 / size for size in SIZES)] for name in PROVIDERS
    ))
    report.table("Resident memory, for each series", ["bytes", *sizes], rows({"resident": "counter"}))
    if SIZES == ALL_SIZES:
        path = ROOT / "docs/growth.svg"
        path.write_text(draw(found))
        report.say(f"Drawn in {path.relative_to(ROOT)}.")
