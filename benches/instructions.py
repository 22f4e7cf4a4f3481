"""How many instructions calls take, by callgrind: the check that a change hasn't made them slower, whatever else the machine does.

All that a call runs is counted, also in Lua and its collector. Where two names have the same place in one of Lua's tables depends
on a seed that Lua makes of the time and of addresses, and each name that is passed costs 9 instructions. So each call is counted in several
processes, whose environments have different lengths, and the least is taken. That of one run is within 0.1 % of another's; should all
processes of a run have had bad luck, it is still within 2 %, which is tolerated.

RECORD=1 writes the counts to instructions.json; without it, a count that is higher by more than its tolerance (that of "all", or a
call's own) ends the run. ROUNDS=8 is the default.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from report import ROOT
from turns import LUAS, environment, run_lua

TITLE = "Instructions"
ROUNDS = int(os.environ.get("ROUNDS", 8))
OWN_ROUNDS = min(ROUNDS, 2)  # nobody checks these
RECORD = os.environ.get("RECORD") == "1"
RECORDED = ROOT / "benches/instructions.json"
MODULE = ROOT / "target/lua/5.4/metre_lua54.so"
TOLERANCE = 2
AGAIN = "make bench PARTS=instructions RECORD=1"


def first_line(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition("\n")[0]


def made_with():
    """What counts depend on, besides the code."""
    compiler = re.search(rb"rustc version ([^\0]+)", MODULE.read_bytes())
    return {
        "rustc": compiler[1].decode() if compiler else "unknown",
        "lua": first_line(LUAS["5.4"], "-v"),
        "valgrind": first_line("valgrind", "--version"),
        "libc": first_line("getconf", "GNU_LIBC_VERSION"),
    }


def instructions(provider, number, seed):
    """Of all the calls that a process counts. Its script calls lua_warning before and after them."""
    with tempfile.TemporaryDirectory() as directory:
        out = f"{directory}/out"
        command = [
            *("valgrind", "--quiet", "--tool=callgrind", "--dump-before=lua_warning", f"--callgrind-out-file={out}"),
            *(LUAS["5.4"], str(ROOT / "benches/lua/instructions.lua"), provider, str(number)),
        ]
        # Moves the stack, by multiples of what it is aligned to.
        moved = dict(environment(), BENCH_SEED="x" * 16 * seed)
        done = subprocess.run(command, env=moved, capture_output=True, text=True, timeout=600)
        try:
            return int(re.search(r"^totals: (\d+)", pathlib.Path(f"{out}.2").read_text(), re.MULTILINE)[1])
        except (OSError, TypeError):
            raise RuntimeError(f"{' '.join(command)} has failed: {done.stderr}") from None


def count(provider, rounds):
    """Instructions of each call, by its name."""
    calls = {name: int(times) for name, times in run_lua("5.4", "instructions.lua").items()}
    # Counts are the same however busy the machine is.
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {
            name: [pool.submit(instructions, provider, number, seed) for seed in range(rounds)]
            for number, name in enumerate(calls, 1)
        }
        return {name: min(run.result() for run in those) / calls[name] for name, those in runs.items()}


def record(found, built):
    old = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    counts = {name: round(value, 1) for name, value in found.items()}
    new = {"made_with": built, "tolerance_percent": old.get("tolerance_percent", {"all": TOLERANCE}), "instructions": counts}
    RECORDED.write_text(json.dumps(new, indent=1) + "\n")


def check(report, recorded, found, built):
    """Ends the run if a call takes more than was recorded."""
    tolerances, counts = recorded["tolerance_percent"], recorded["instructions"]
    worse, better = [], []
    for name, value in found.items():
        if name not in counts:
            worse.append(f"{name}: not recorded")
            continue
        change = (value / counts[name] - 1) * 100
        tolerance = tolerances.get(name, tolerances["all"])
        if abs(change) > tolerance:
            told = f"{name}: {counts[name]:,.1f} recorded, {value:,.1f} found, {change:+.1f} %, {tolerance} % tolerated"
            (worse if change > 0 else better).append(told)
    if better:
        report.say("Fewer instructions than recorded (`" + AGAIN + "` keeps that): " + "; ".join(better) + ".")
    others = [f"{what} {built[what]} instead of {made}" for what, made in recorded["made_with"].items() if built[what] != made]
    if others:
        report.say("Not checked, since it was recorded with another toolchain: " + "; ".join(others) + ".")
    elif worse:
        sys.exit("More instructions than recorded:\n  " + "\n  ".join(worse) + f"\nIf that is intended: {AGAIN}")


def run(report):
    built = made_with()
    found = count("metre", ROUNDS)
    if RECORD:
        record(found, built)
    recorded = json.loads(RECORDED.read_text())
    counts = recorded["instructions"]
    own = count("prosody", OWN_ROUNDS)
    rows = []
    for name, value in found.items():
        before = counts.get(name)
        rows.append([name, before or "", value, (value / before - 1) * 100 if before else "", own[name]])
    report.table(f"Instructions a call, least of {ROUNDS}", ["", "recorded", "found", "difference, %", "Prosody's"], rows)
    check(report, recorded, found, built)
