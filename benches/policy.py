"""What limits and rules cost: updates with and without them, how far quantiles are off, and a real Prosody's memory.

ROUNDS=5 SETS=1000000 LIMIT=100000 are the defaults. For 5,000,000 sets Prosody's own provider takes some 6 GB while it starts.
"""

import os
import time

from harness import Prosody
from turns import medians, run_lua

TITLE = "Limits and rules"
ROUNDS = int(os.environ.get("ROUNDS", 5))
SETS = int(os.environ.get("SETS", 1_000_000))
LIMIT = int(os.environ.get("LIMIT", 100_000))

# Provider, and variant of benches/lua/cases/policy.lua, by the name of a column.
VARIANTS = {
    "no rules": ("metre", "none"),
    "100 rules": ("metre", "hundred"),
    "idle_ttl": ("metre", "idle_ttl"),
    "quantiles": ("metre", "quantiles"),
    "drop": ("metre", "drop"),
    "Prosody's own": ("prosody", "none"),
}


def show_updates(report):
    times = medians(ROUNDS, {
        name: lambda variant=variant: run_lua("5.4", "turn.lua", "policy", *variant) for name, variant in VARIANTS.items()
    })
    rows = [[case, *(times[name][case] for name in VARIANTS)] for case in times["no rules"]]
    report.table(f"Lua 5.4, medians of {ROUNDS}", ["ns", *VARIANTS], rows)


def show_errors(report):
    errors = {}
    for name, error in run_lua("5.4", "quantiles.lua").items():
        shape, quantile = name.split("\t")
        errors.setdefault(shape, {})[quantile] = error
    columns = list(next(iter(errors.values())))
    rows = [[shape, *(of_shape[quantile] for quantile in columns)] for shape, of_shape in errors.items()]
    report.table("Quantiles of a million samples, error in %", ["", *columns], rows)


def measure(sets, statistics, config=""):
    """Resident bytes once a module has made that many label sets, and the seconds until Prosody serves."""
    options = f"statistics_interval = 86400 metre_many_series = {sets} statistics_config = {{ {config} }}"
    with Prosody(statistics, options, modules=["metre_many"]) as prosody:
        start = time.monotonic()
        prosody.start(deadline=600)
        return prosody.memory(), time.monotonic() - start


def show_memory(report):
    rows = []
    for name, *provider in (
        (f"metre, limit of {LIMIT:,}", ":metre", f"limits = {{ max_series_per_family = {LIMIT} }}"),
        ("metre, no limit", ":metre", "limits = { max_series_per_family = 100000000, max_series = 100000000 }"),
        ("Prosody's own", "internal"),
    ):
        (before, _), (after, seconds) = measure(0, *provider), measure(SETS, *provider)
        rows.append([name, after / 1e6, (after - before) / 1e6, seconds])
    report.table(
        f"Memory of a Prosody after {SETS:,} distinct label sets", ["", "MB", "more than without, MB", "until it serves, s"], rows,
    )


def run(report):
    show_updates(report)
    show_errors(report)
    show_memory(report)
