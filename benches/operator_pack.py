"""What the operator pack costs: instructions for messages and logins, lines on the page, time of a collection. More lines than their
bound, or more instructions than were reached, end the run.

Each of ROUNDS=3 rounds has a pair of Prosodys with the same seed of Lua's hashes, one with `operator = false`. They do the same, and
what differs is taken part by part.
"""

import concurrent.futures
import os
import statistics
import sys

import operator_collections
import operator_pages
from counted import Counted, seeded

TITLE = "The operator pack"
ROUNDS = int(os.environ.get("ROUNDS", 3))
PARTS = 3
MESSAGES, LOGINS = 500, 60
OFF = "operator = false;"
CONFIGS = {"on": "", "off": OFF}

# What is counted: with which modules, what is to be reached, and what was reached, with some room for what processes differ by.
WORK = {
    "a message": ([], 3500, 5500),
    "a message, with mod_mam": (["mam"], 6000, 13_000),
    "a login": ([], 12_000, 40_000),
    "all of a session: login, roster, presence, logout": ([], "", 130_000),
}


def count(config, seed, library, modules):
    """Instructions and bytes by what they are for, part by part; and instructions that the collector takes for a byte."""
    with Counted(seed, library, modules=modules, config=config) as prosody:
        prosody.start()
        prosody.send(200)
        messages = [prosody.count(prosody.send, MESSAGES) for _ in range(PARTS)]
        collected, _ = prosody.count(prosody.send, 2 * MESSAGES, collector="on")
        rate = (collected - statistics.median(one for one, _ in messages)) / statistics.median(one for _, one in messages)
        if modules:
            return {"a message, with mod_mam": messages}, rate
        prosody.log_in_and_out(40)
        sessions = [prosody.count(prosody.log_in_and_out, LOGINS) for _ in range(PARTS)]
        logins = [prosody.count(prosody.log_in, LOGINS) for _ in range(PARTS)]
        if complaints := prosody.complaints():
            raise AssertionError(complaints)
        return {"a message": messages, "a login": logins, "all of a session: login, roster, presence, logout": sessions}, rate


def count_all():
    """By work and configuration, all parts of all rounds in their order; and what the collector takes for a byte."""
    found = {work: {"on": [], "off": []} for work in WORK}
    rates = []
    # Counts are the same however busy the machine is.
    with seeded() as library, concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = [
            (name, pool.submit(count, config, seed, library, modules))
            for seed in range(ROUNDS) for modules in ([], ["mam"]) for name, config in CONFIGS.items()
        ]
        for name, run in runs:
            parts, rate = run.result()
            rates.append(rate)
            for work, costs in parts.items():
                found[work][name] += costs
    return found, statistics.median(rates)


def show_instructions(report):
    """Returns what is beyond its bound."""
    found, rate = count_all()
    rows, beyond = [], []
    for work, costs in found.items():
        _, goal, most = WORK[work]
        pairs = list(zip(costs["on"], costs["off"]))
        more = [on[0] - off[0] for on, off in pairs]
        allocated = statistics.median(on[1] - off[1] for on, off in pairs)
        cost = statistics.median(more) + rate * max(allocated, 0)
        off, on = (statistics.median(one for one, _ in costs[name]) for name in ("off", "on"))
        rows.append([work, off, on, statistics.median(more), min(more), max(more), allocated, cost, goal])
        if cost > most:
            beyond.append(f"{work}: {cost:,.0f} instructions, {most:,} are the most")
    report.table(
        f"Instructions of a whole Prosody, medians of {ROUNDS * PARTS} parts in {ROUNDS} pairs of processes",
        ["", "`operator = false`", "with the pack", "more", "least", "most", "bytes allocated more", "more, with the collector's", "goal"],
        rows,
    )
    report.say(
        f"Lua's collector stands still while calls are counted. It takes {rate:.1f} instructions for each byte that is allocated, by "
        "parts in which it runs; these are in the last but one column."
    )
    return beyond


def run(report):
    beyond = show_instructions(report)
    beyond += operator_pages.show(report)
    operator_collections.show(report)
    if beyond:
        sys.exit("More than the bounds:\n  " + "\n  ".join(beyond))
