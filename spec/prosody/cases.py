#!/usr/bin/python3
"""Runs the tests with a real Prosody, each test case (a class) in a process of its own, some at a time: most of them wait.

Usage: METRE_MODULES=DIR METRE_PANICS=DIR spec/prosody/cases.py
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
AT_A_TIME = 4
# They begin first, so that none of them runs alone at the end.
LONGEST = ("test_exporter.RealPrometheus", "test_exporter.StuckLoop", "test_exporter.Load", "test_exporter.Access")

slots = threading.Semaphore(AT_A_TIME)
printing = threading.Lock()


def _tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


def all_cases():
    """The names of all test cases as "file.Class", the longest first."""
    names = {type(test).__module__ + "." + type(test).__qualname__ for test in _tests(unittest.TestLoader().discover(str(HERE), "test_*.py"))}
    return sorted(names, key=lambda name: (LONGEST.index(name) if name in LONGEST else len(LONGEST), name))


def command(place, case, tests=None):
    """How to run a case whose file lies in `place`, or only those of its tests whose full names contain one of `tests`."""
    chosen = [f"-k{test}" for test in tests or [case + "."]]
    return ["/usr/bin/python3", "-B", "-m", "unittest", "discover", "-v", "-s", str(place), "-p", case.split(".")[0] + ".py", *chosen]


def run(title, arguments, **options):
    """Runs one case as soon as there is room, and prints all that it has printed. How many tests ran, how many of these were skipped, and
    whether all went well."""
    with slots:
        began = time.monotonic()
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              **options)
    with printing:
        print(f"== {title}, {time.monotonic() - began:.0f} s\n{done.stdout}", flush=True)
    count, skipped = re.search(r"(?m)^Ran (\d+) test", done.stdout), re.search(r"skipped=(\d+)", done.stdout)
    ran = int(count[1]) if count else 0
    return ran, int(skipped[1]) if skipped else 0, done.returncode == 0 and ran > 0


def main():
    cases = all_cases()
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        results = list(pool.map(lambda case: run(case, command(HERE, case), cwd=HERE.parents[1]), cases))
    failed = [case for case, (_, _, fine) in zip(cases, results) if not fine]
    print(f"{sum(ran for ran, _, _ in results)} tests with a real Prosody, {sum(skipped for _, skipped, _ in results)} skipped, "
          f"{len(failed)} cases failed{''.join(f' {case}' for case in failed)}")
    return not failed


if __name__ == "__main__":
    sys.exit(not main())
