"""The calls that modules make, on every Lua version: Prosody's own provider, metre, and the same store bound as mlua does it."""

import os

from turns import NAMES, medians, run_lua

TITLE = "Calls"
ROUNDS = int(os.environ.get("ROUNDS", 7))


def run(report):
    for version, name in NAMES.items():
        providers = ["prosody", "metre"] + (["binding"] if version == "5.4" else [])
        times = medians(ROUNDS, {
            provider: lambda provider=provider: run_lua(version, "turn.lua", "calls", provider) for provider in providers
        })
        columns = ["ns", "Prosody's", "metre", "ratio"]
        rows = [[case, own, times["metre"][case], own / times["metre"][case]] for case, own in times["prosody"].items()]
        if "binding" in times:
            columns.append("mlua binding")
            rows = [[*row, times["binding"].get(row[0], "")] for row in rows]
        report.table(f"{name}, medians of {ROUNDS}", columns, rows)
