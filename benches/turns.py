"""Runs programs turn by turn, so that whatever the machine does meanwhile meets all alike, and nobody pays for another's garbage."""

import os
import statistics
import subprocess

from report import ROOT

LUAS = {"5.4": "lua5.4", "5.3": "lua5.3", "5.2": "lua5.2", "5.1": "lua5.1", "jit": "luajit"}
NAMES = {version: "LuaJIT" if version == "jit" else f"Lua {version}" for version in LUAS}

# What a part of the natives takes at most, building included, in seconds.
LONGEST = 1800


def environment(version="5.4"):
    """Where a Lua finds metre as built for it, and the benchmarks."""
    return dict(
        os.environ,
        LUA_PATH=f"{ROOT}/benches/lua/?.lua;{ROOT}/lua/?.lua;{ROOT}/spec/?.lua;;",
        LUA_CPATH=f"{ROOT}/target/lua/{version}/?.so;{ROOT}/target/bench/?.so;;",
    )


def _figures(output):
    """Lines of a name, a tab and a number."""
    lines = (line.rsplit("\t", 1) for line in output.splitlines() if "\t" in line)
    return {name: float(value) for name, value in lines}


def run_lua(version, script, *arguments):
    """What a script of benches/lua prints, each line a name and a number."""
    command = [LUAS[version], str(ROOT / "benches/lua" / script), *map(str, arguments)]
    output = subprocess.run(command, env=environment(version), check=True, stdout=subprocess.PIPE, text=True).stdout
    return _figures(output)


def run_natives(part, rounds):
    """What a part of benches/natives has measured: numbers by what they are of, and whose they are. They take turns by themselves."""
    command = [os.environ.get("CARGO", "cargo"), "bench", "--quiet", "--locked", "--bench", "natives", "--", part]
    output = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ, ROUNDS=str(rounds)), check=True, stdout=subprocess.PIPE, text=True, timeout=LONGEST,
    ).stdout
    found = {}
    for name, value in _figures(output).items():
        what, who = name.split(": ")
        found.setdefault(what, {})[who] = value
    return found


def medians(rounds, runners):
    """Calls the functions in turn, that many times. Each returns numbers by name; these are the medians, by function's name."""
    found = {name: {} for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            for case, value in run().items():
                found[name].setdefault(case, []).append(value)
    return {name: {case: statistics.median(values) for case, values in cases.items()} for name, cases in found.items()}
