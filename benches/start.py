"""What the first `require` of a provider and its `.new({})` cost a process, whose files are in the page cache.

Prosody's is util.statistics with all that it requires, of which a running Prosody has a part already. Pages of files are resident
once for all processes that map them; the kernel maps up to 16 at a time. One process a turn.
"""

import os

from turns import medians, run_lua

TITLE = "Start"
ROUNDS = int(os.environ.get("ROUNDS", 15))
PROVIDERS = ("prosody", "metre")
GOAL_MS, GOAL_KB = 1, 1024


def run(report):
    # Once for the page cache.
    for provider in PROVIDERS:
        run_lua("5.4", "start.lua", provider)
    found = medians(ROUNDS, {provider: lambda provider=provider: run_lua("5.4", "start.lua", provider) for provider in PROVIDERS})
    own, ours = (found[provider] for provider in PROVIDERS)
    report.table(f"require and new, medians of {ROUNDS}", ["", "Prosody's", "metre"], [
        ["wall clock, ms", own["wall"], ours["wall"]],
        ["processor, ms", own["cpu"], ours["cpu"]],
        ["resident, kB", *(there["resident"] / 1024 for there in (own, ours))],
        ["of that: the native module's file, kB", "", ours["file"] / 1024],
        ["of that: written in the native module, kB", "", ours["written"] / 1024],
        ["of that: the rest, kB", "", (ours["resident"] - ours["file"] - ours["written"]) / 1024],
    ])
    for what, value, goal, unit in (("Starting", ours["wall"], GOAL_MS, "ms"), ("It", ours["resident"] / 1024, GOAL_KB, "kB resident")):
        report.say(f"{what} takes {value:,.4g} {unit}; the goal is less than {goal}: {'met' if value < goal else 'not met'}.")
