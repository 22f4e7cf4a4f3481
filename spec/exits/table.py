"""Running cases again and again, and what came of it."""

import argparse
import concurrent.futures
import sys
import threading
import time

LUAS = {"5.1": "lua5.1", "5.2": "lua5.2", "5.3": "lua5.3", "5.4": "lua5.4", "jit": "luajit"}


class Table:
    """Runs, failures and the longest time of each case, by Lua."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cells = {}
        self.examples = []

    def add(self, case, number, problems, seconds):
        with self.lock:
            runs, failures, longest = self.cells.get((case.name, case.lua), (0, 0, 0))
            self.cells[case.name, case.lua] = (runs + 1, failures + bool(problems), max(longest, seconds))
            if problems:
                line = f"FAILED on {case.lua}, run {number}: {case.name}: " + "; ".join(problems[:4])
                self.examples.append(line)
                if len(self.examples) <= 500:
                    print(line, flush=True)

    def failures(self):
        return sum(failures for _, failures, _ in self.cells.values())

    def __str__(self):
        luas = [lua for lua in LUAS if any(lua == of for _, of in self.cells)]
        width = max(len(name) for name, _ in self.cells)
        lines = ["runs/failures/longest seconds".ljust(width) + "".join(f"  {lua:>14}" for lua in luas)]
        for name in dict.fromkeys(name for name, _ in self.cells):
            row = name.ljust(width)
            for lua in luas:
                cell = self.cells.get((name, lua))
                row += "  " + (f"{cell[0]}/{cell[1]}/{cell[2]:.2f}" if cell else "-").rjust(14)
            lines.append(row)
        return "\n".join(lines)


def run_in_turn(table, cases, runs, workers, seconds, run):
    """Runs each of the cases before any of them again, for so many seconds at most. What is left then counts as failed."""
    for case in cases:
        table.cells[case.name, case.lua] = (0, 0, 0)
    end = time.monotonic() + seconds

    def once(case, number):
        if time.monotonic() < end:
            table.add(case, number, *run(case, number))

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(once, case, number) for number in runs for case in cases]
        for job in jobs:
            job.result()
    if not all(runs_made == len(runs) for runs_made, _, _ in table.cells.values()):
        table.examples.append(f"only a part has been run in {seconds} s")
        print(table.examples[-1])


def report(table, start):
    """Prints the table; ends the process."""
    print(table)
    total = sum(runs for runs, _, _ in table.cells.values())
    print(f"{total} runs, {table.failures()} failures, {time.monotonic() - start:.0f} s")
    sys.exit(bool(table.examples))


def arguments(description):
    """The command line that both runners have, to be added to."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("runs", type=int)
    parser.add_argument("--only", default="", help="only cases whose name has this in it")
    parser.add_argument("--first", type=int, default=1, help="the number of the first run")
    parser.add_argument("--seconds", type=float, default=7200, help="begin nothing after that")
    return parser
