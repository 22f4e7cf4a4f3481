"""Every way out: Lua scripts that end, each a process of its own, on every Lua, again and again.

Usage: exits.py RUNS [--only TEXT] [--lua VERSION] [--seconds MOST]. Each case (see cases/) is run that many times with ever other surroundings. A run
is right if it ends the way it should, in time, with nothing on stderr that doesn't belong there, and if what was counted has arrived.
"""

import collections
import os
import pathlib
import re
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time

from servers import Servers
from table import LUAS, Table, arguments, report, run_in_turn

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "spec/prosody"))
from stopwatch import Stopwatch  # noqa: E402

BUILD = ROOT / "target/exits"

# From the moment the script goes for its end, in seconds in which it could run; metre takes two at most.
LONGEST_END = 3
# For a whole run, which does a lot of things on the way, and for what never ends.
LONGEST_RUN = 120
WORKERS = 5

AWAY = re.compile(
    r"metre: warn: (Cannot reach the statsd server .*; counts are kept until it is back"
    r"|Stopped before everything was sent to the statsd server .*; the rest is lost)$"
)


class Output:
    """What a process writes, and how often it has said that it goes for its end."""

    def __init__(self):
        self.text = b""
        self.ended = False
        self.leaves = 0

    def read(self, pipe):
        more = os.read(pipe.fileno(), 1 << 16)
        self.leaves += b"leaves\n" in more
        self.text += more
        self.ended = not more


def environment(lua):
    return {
        "PATH": os.environ["PATH"],
        "LUA_PATH": f"{ROOT}/lua/?.lua;{ROOT}/spec/?.lua",
        "LUA_CPATH": f"{os.environ.get('METRE_BUILD', ROOT / 'target/lua')}/{lua}/?.so;{BUILD}/?.so",
    }


def command(lua, *arguments):
    return [f"/usr/bin/{LUAS[lua]}", str(ROOT / "spec/exits/case.lua"), *map(str, arguments)]


class Case:
    def __init__(self, lua, line):
        self.lua = lua
        self.name, self.ends, self.stderr, killed_by = line.split("\t")
        self.killed_by = int(killed_by or 0)

    def run(self, servers, number):
        """Runs it once. Returns what was wrong, and how many seconds it took to end."""
        process = subprocess.Popen(
            command(self.lua, self.name, number), env={**environment(self.lua), **servers.environment()},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )
        stopwatch = Stopwatch(process.pid)
        limit = time.monotonic() + LONGEST_RUN
        out, err = Output(), Output()
        outputs = {process.stdout: out, process.stderr: err}
        with process:
            for pipe, output in outputs.items():
                servers.selector.register(pipe, selectors.EVENT_READ, output.read)
            killed, leaves = False, 0
            # Its children have its stdout, too.
            while not (out.ended and err.ended) and time.monotonic() < limit:
                for key, _ in servers.selector.select(0.02):
                    key.data(key.fileobj)
                    if key.fileobj in outputs and outputs[key.fileobj].ended:
                        servers.selector.unregister(key.fileobj)
                if self.killed_by and not killed and b"ready\n" in out.text:
                    killed, out.leaves = True, 1
                    process.send_signal(self.killed_by)
                if out.leaves > leaves:
                    leaves, stopwatch = out.leaves, Stopwatch(process.pid)
                stopwatch.look()
            for pipe, output in outputs.items():
                if not output.ended:
                    servers.selector.unregister(pipe)
            seconds = stopwatch.seconds()
            hung = not (out.ended and err.ended)
            if hung:
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        problems = self.problems(out.text.decode(), err.text.decode(errors="replace"), code, servers.drain())
        if hung or (leaves and seconds > LONGEST_END):
            problems.insert(0, f"has not ended after {seconds:.1f} s")
        return problems, seconds

    def problems(self, said, complained, code, arrived):
        problems = re.findall(r"^fault: .*", said, re.M)
        ended = f"signal {-code}" if code < 0 else f"exit {code}"
        if ended != self.ends:
            problems.append(f"{ended} instead of {self.ends}")
        told = collections.Counter()
        for what, number in re.findall(r"^(sent|maybe) (\d+)$", said, re.M):
            told[what] += int(number)
        unsure = self.killed_by != 0
        if not unsure and not told["sent"] <= arrived <= told["sent"] + told["maybe"]:
            problems.append(f"{arrived} arrived; sent {told['sent']}, and perhaps {told['maybe']} more")
        for path in re.findall(r"^gone (.*)$", said, re.M):
            if os.path.exists(path):
                problems.append(f"{path} is still there")
        is_away = re.search("^away$", said, re.M)
        if self.killed_by:
            # It may have been in the middle of a line.
            complained = complained[: complained.rfind("\n") + 1]
        lines = [line for line in complained.splitlines() if not (is_away and AWAY.match(line))]
        if self.stderr and self.ends == "exit 1":
            # Below it stands where that was, in each Lua's own words.
            if not any(self.stderr in line for line in lines):
                problems.append(f"no {self.stderr!r} on stderr")
            lines = [line for line in lines if line.startswith("metre:")]
        elif self.stderr:
            lines = [line for line in lines if self.stderr not in line and not re.match("\t|stack traceback:$", line)]
        if lines:
            problems.append("on stderr: " + " / ".join(lines[:5]))
        return problems


def build_host():
    """Compiles what the cases need of the system."""
    BUILD.mkdir(parents=True, exist_ok=True)
    source, host = ROOT / "spec/exits/host.c", BUILD / "host.so"
    if not host.exists() or host.stat().st_mtime < source.stat().st_mtime:
        flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, "-o", str(host), str(source)], check=True)


def cases(lua):
    with tempfile.TemporaryDirectory() as directory:
        servers = Servers(directory)
        variables = {**environment(lua), **servers.environment()}
        servers.close()
        done = subprocess.run(command(lua, "list"), env=variables, capture_output=True, text=True, timeout=LONGEST_RUN)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return [Case(lua, line) for line in done.stdout.splitlines()]


def run_all(runs, only, luas, seconds):
    """Runs all cases; returns the table."""
    build_host()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    table = Table()
    local = threading.local()
    everything = [case for lua in luas for case in cases(lua) if only in case.name]
    made = []
    with tempfile.TemporaryDirectory(prefix="metre-exits-") as directory:
        def run(case, number):
            if not hasattr(local, "servers"):
                local.servers = Servers(tempfile.mkdtemp(dir=directory))
                made.append(local.servers)
            return case.run(local.servers, number)
        run_in_turn(table, everything, runs, WORKERS, seconds, run)
        for servers in made:
            servers.close()
    return table


def main():
    parser = arguments(__doc__)
    parser.add_argument("--lua", choices=LUAS, action="append")
    given = parser.parse_args()
    start = time.monotonic()
    runs = range(given.first, given.first + given.runs)
    report(run_all(runs, given.only, given.lua or LUAS, given.seconds), start)


if __name__ == "__main__":
    main()
