"""Runs tests again and again while other processes keep the processors busy: what fails by chance fails here.

Settings come from the environment, and from `make stress`:
TESTS    patterns of suites, each with a test's name if wanted: "rust/policy:pages_and_pushes prosody/*"
RUNS     how often each is run; 20 with TESTS. With neither, those that have failed by chance before are run as often as FIRST says,
         then all suites in turn until MINUTES are over
HOGS     how many busy processes there are beside them (4)
MINUTES  for how long all of it goes on at least (60); each suite is run once at least
JOBS     how many are run at a time (2)

Modules are built before (`make stress`). What a failed run printed is kept in target/stress. Ends with 1 if any has failed.
"""

import concurrent.futures
import contextlib
import dataclasses
import fnmatch
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "target/stress"
MODULES = ROOT / "target/lua"
LUAS = ("5.1", "5.2", "5.3", "5.4", "jit")
# What has not ended by then never will.
LONGEST = 1800
FIRST = (
    ("rust/policy:pages_and_pushes_are_right_while_series_come_and_go", 300),
    ("prosody/test_prosody:WithInternalAsOracle.test_same_names_values_and_shell", 100),
    ("prosody/test_statsd:WithProsodysOwnAsOracle.test_same_names_and_totals", 100),
)
# Ends with its parent, however that ends.
HOG = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
while os.getppid() == int(sys.argv[1]):
    for _ in range(10**6):
        pass
"""


@dataclasses.dataclass
class Suite:
    """Something that can be run: a Rust test binary, the specs on one Lua, a file of Prosody's tests; or one test of it."""

    name: str
    command: list
    environment: dict
    option: str
    runs: int = 0
    failures: int = 0
    longest: float = 0
    # Two of the same at a time would take each other's networks, so whole suites wait for each other.
    alone: contextlib.AbstractContextManager = dataclasses.field(default_factory=threading.Lock)

    def only(self, test):
        """The same with one test, of which several may run at a time."""
        return Suite(f"{self.name}:{test}", [*self.command, *([self.option] if self.option else []), test], self.environment, self.option,
                     alone=contextlib.nullcontext())


def suites():
    """All there are."""
    built = subprocess.run([os.environ.get("CARGO", "cargo"), "test", "--locked", "--lib", "--tests", "--no-run", "--message-format=json"],
                           cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in built.splitlines():
        artifact = json.loads(line)
        if artifact.get("executable") and artifact["profile"]["test"]:
            name = "lib" if "test" not in artifact["target"]["kind"] else artifact["target"]["name"]
            yield Suite(f"rust/{name}", [artifact["executable"]], {}, "")
    for lua in LUAS:
        yield Suite(f"busted/{lua}", [ROOT / "spec/run", lua], {"METRE_MODULES": str(MODULES / lua)}, "--filter")
    modules = {"METRE_MODULES": str(MODULES / "5.4"), "METRE_PANICS": str(ROOT / "target/check")}
    for file in sorted((ROOT / "spec/prosody").glob("test_*.py")):
        command = [sys.executable, "-B", "-m", "unittest", "discover", "-v", "-s", "spec/prosody", "-p", file.name]
        yield Suite(f"prosody/{file.stem}", command, modules, "-k")


def chosen(everything, patterns):
    """The suites that patterns name; ends with an error for one that names none."""
    for pattern in patterns:
        suite, _, test = pattern.partition(":")
        found = [each for each in everything if fnmatch.fnmatchcase(each.name, suite)]
        if not found:
            sys.exit(f"TESTS: nothing is called {suite}; there are {' '.join(each.name for each in everything)}")
        yield from (each.only(test) if test else each for each in found)


class Runner:
    """Runs suites, JOBS at a time."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.lock = threading.Lock()
        self.running = set()

    def _run(self, suite):
        with suite.alone:
            with self.lock:
                suite.runs += 1
                output = KEPT / f"{suite.name.replace('/', '-').replace(':', '-')}-{suite.runs}"
            began = time.monotonic()
            with open(output, "wb") as file:
                # In a group of its own, so that all it has started can be ended with it.
                process = subprocess.Popen(suite.command, cwd=ROOT, env={**os.environ, **suite.environment}, stdin=subprocess.DEVNULL,
                                           stdout=file, stderr=file, start_new_session=True)
                with self.lock:
                    self.running.add(process.pid)
                try:
                    status = process.wait(LONGEST)
                except subprocess.TimeoutExpired:
                    status = f"no end after {LONGEST} s"
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            with self.lock:
                self.running.discard(process.pid)
                suite.longest = max(suite.longest, time.monotonic() - began)
                # A name that fits nothing is a mistake, not a success.
                text = output.read_text(errors="replace")
                if status == 0 and not any(none in text for none in ("\nRan 0 tests", " 0 passed; 0 failed", "\n0 successes / 0")):
                    output.unlink()
                else:
                    suite.failures += 1
                    print(f"FAILED ({status}): {suite.name}, run {suite.runs}: {output.relative_to(ROOT)}", flush=True)

    def all(self, order):
        """Runs what comes of an iterator, which is asked only when there is room."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            waiting = set()
            try:
                for suite in order:
                    waiting.add(pool.submit(self._run, suite))
                    while len(waiting) >= self.jobs:
                        done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                        for each in done:
                            each.result()
                for each in waiting:
                    each.result()
            except BaseException:
                self.end()
                raise

    def end(self):
        with self.lock:
            for pid in self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def hogs(count):
    """That many busy processes."""
    processes = [subprocess.Popen([sys.executable, "-c", HOG, str(os.getpid())], stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def in_turn(everything, end):
    """All of them, again and again until then, but once at least."""
    yield from everything
    for suite in itertools.cycle(everything):
        if time.monotonic() > end:
            return
        yield suite


def table(everything):
    width = max(len(suite.name) for suite in everything)
    print(f"\n{'suite':{width}}  runs  failures  longest, s")
    for suite in everything:
        print(f"{suite.name:{width}}  {suite.runs:4}  {suite.failures:8}  {suite.longest:10.1f}")
    runs, failures = sum(suite.runs for suite in everything), sum(suite.failures for suite in everything)
    print(f"stress: {runs} runs, {failures} failed", flush=True)
    return failures


def number(name, default):
    """A setting; the error for what is no number names it."""
    text = os.environ.get(name) or default
    try:
        return max(0, int(text))
    except ValueError:
        sys.exit(f"{name} is {text!r}; allowed: a whole number")


def main():
    runs, minutes, jobs = number("RUNS", 0), number("MINUTES", 60), max(1, number("JOBS", 2))
    patterns = os.environ.get("TESTS", "").split()
    end = time.monotonic() + 60 * minutes
    everything = list(suites())
    if patterns or runs:
        tried = list(chosen(everything, patterns)) if patterns else everything
        order = itertools.chain.from_iterable(itertools.repeat(tried, runs or 20))
    else:
        first = [(next(chosen(everything, [pattern])), often) for pattern, often in FIRST]
        tried = [*(suite for suite, _ in first), *everything]
        order = itertools.chain((suite for suite, often in first for _ in range(often)), in_turn(everything, end))
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    try:
        with hogs(number("HOGS", 4)):
            Runner(jobs).all(order)
    finally:
        failures = table(tried)
    return 1 if failures else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
