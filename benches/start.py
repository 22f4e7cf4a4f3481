"""What the first `require` of a provider and its `.new({})` cost a process, whose files are in the page cache.

Prosody's is util.statistics with all that it requires, of which a running Prosody has a part already. One process a turn.
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
        ["private memory, kB", own["private"] / 1024, ours["private"] / 1024],
        ["pages of files besides, kB", own["files"] / 1024, ours["files"] / 1024],
    ])
    for what, value, goal, unit in (("Starting", ours["wall"], GOAL_MS, "ms"), ("It", ours["private"] / 1024, GOAL_KB, "kB of private memory")):
        report.say(f"{what} takes {value:,.4g} {unit}; the goal is less than {goal}: {'met' if value < goal else 'not met'}.")
    report.say(
        "Private memory is what the process has written to (Private_Dirty in /proc/PID/smaps_rollup). Pages of files are code and "
        "constants, most of them the native module's: they are in the page cache once for all processes that map them, the kernel drops "
        "them when it needs room, and it maps up to 16 around each that is read."
    )
