"""Every way out of a real Prosody on metre, with clients, scrapers and statsd servers in the middle of something.

Usage: prosody.py RUNS [--only TEXT] [--seconds MOST]. On Lua 5.4 alone, for which Debian builds Prosody's own native parts.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "spec/prosody"), str(ROOT / "spec/exits")]

from exits import LONGEST_END  # noqa: E402
from harness import Exporting, is_alive, wait_for  # noqa: E402
from servers import Servers  # noqa: E402
from stopwatch import Stopwatch  # noqa: E402
from table import Table, arguments, report, run_in_turn  # noqa: E402

WORKERS = 2
COUNTED = 1000
STREAM = (
    b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' version='1.0' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)
# What may be logged as a warning or an error on these ways.
EXPECTED = re.compile(
    r"Cannot reach the statsd server udp://127\.0\.0\.1:1:|Stopped before everything was sent to the statsd server udp://127\.0\.0\.1:1;"
)


class Run:
    """A Prosody that was started for one run, and those around it. Problems are in a list."""

    def __init__(self, number):
        self.number = number
        self.problems = []
        self.directory = tempfile.TemporaryDirectory(prefix="metre-exits-")
        self.servers = Servers(self.directory.name)
        environment = self.servers.environment()
        self.statsd = [f"udp://{environment['EXITS_UDP']}", "udp://127.0.0.1:1", f"tcp://{environment['EXITS_TCP']}"][number % 3]
        self.is_away = number % 3 == 1
        # What scrapers are in the middle of.
        self.scraper = ["nothing", "idle", "half", "stuck", "asking"][number % 5]
        interval = ['"manual"', "1"][number % 2]
        self.prosody = Exporting(
            settings="collect_timeout = 1;", interval=interval, modules=["metre_exits"], log_level="info",
            config=f'statsd = {{ server = "{self.statsd}"; flush_interval = 3600 }}',
            plugin_paths=[ROOT / "spec/exits/modules"],
        )
        self.sockets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.sockets:
            connection.close()
        self.prosody.__exit__()
        self.servers.close()
        self.directory.cleanup()

    def check(self, right, what):
        if not right:
            self.problems.append(what)

    def start(self, daemonize=False):
        self.prosody.serves(daemonize=daemonize)
        for _ in range(2):
            client = self.connect(self.prosody.c2s_port)
            client.sendall(STREAM)
            client.recv(4096)
        for _ in range(3):
            self.scrape()
        return self

    def connect(self, port):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        self.sockets.append(connection)
        return connection

    def scrape(self):
        """One scraper more, in the middle of something."""
        if self.scraper == "nothing":
            return
        scraper = self.connect(self.prosody.port)
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        if self.scraper == "half":
            scraper.sendall(request[:20])
        elif self.scraper == "stuck":
            # One that reads nothing of many pages.
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            scraper.sendall(request * 50)
        elif self.scraper == "asking":
            scraper.sendall(request)

    def kill(self, number):
        os.kill(self.prosody.pid, number)

    def tally(self):
        """How many threads and descriptors it has. Prosody closes the old log file after a reload when garbage is collected."""
        process = pathlib.Path(f"/proc/{self.prosody.pid}")
        files = []
        for file in process.glob("fd/*"):
            with contextlib.suppress(FileNotFoundError):
                files.append(os.readlink(file))
        return len(list(process.glob("task/*"))), len([file for file in files if not file.endswith("prosody.log")])

    def ends(self, codes=(0,), complete=True):
        """Waits for its end, which has to be one of these; returns how many seconds that took."""
        prosody = self.prosody
        stopwatch = Stopwatch(prosody.pid)
        with contextlib.suppress(TimeoutError):
            wait_for("Prosody to end", lambda: self.pump() or stopwatch.look() or not is_alive(prosody.pid))
        seconds = stopwatch.seconds()
        self.check(seconds <= LONGEST_END, f"has not ended after {seconds:.1f} s")
        if is_alive(prosody.pid):
            return seconds
        if prosody.process.pid == prosody.pid:
            code = prosody.process.wait()
            self.check(code in codes, f"ended by {code}")
            complete = complete and code == 0
        if complete:
            self.check("Shutdown complete" in prosody.log(), "its shutdown was not complete")
            arrived = self.servers.drain()
            expected = 0 if self.is_away else COUNTED
            self.check(arrived == expected, f"{arrived} arrived, not {expected}")
            self.check(not prosody.pidfile.exists(), "the pid file is still there")
        complaints = [line for line in prosody.complaints() if not EXPECTED.search(line)]
        self.check(not complaints, f"logged: {complaints[:3]}")
        output = (prosody.directory / "output").read_text()
        self.check(not re.search("panic|abort|traceback|[Ff]ault|rror", output), f"printed: {output[:300]}")
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", prosody.port))
        return seconds

    def pump(self):
        """Statsd servers take in what has come."""
        for key, _ in self.servers.selector.select(0):
            key.data(key.fileobj)


def by_signal(number):
    def case(run):
        run.start()
        run.kill(number)
        return run.ends()
    return case


def reload(run):
    run.start()
    page = run.prosody.scrape()
    before = run.tally()
    for count in range(1, 4):
        run.kill(signal.SIGHUP)
        wait_for("the reload", lambda: run.prosody.log().count("Reloading configuration file") >= count)
        run.check(page.count("# TYPE") == run.prosody.scrape().count("# TYPE"), "another page after a reload")
    # Connections may be ended for their age meanwhile, but nothing is added.
    with contextlib.suppress(TimeoutError):
        wait_for("the descriptors", lambda: run.tally() <= before, 3)
    run.check(run.tally() <= before, f"threads and descriptors: {run.tally()} after, {before} before")
    run.kill(signal.SIGTERM)
    return run.ends()


def shell(run):
    run.start()
    run.prosody.shell("server:shutdown('on purpose')")
    return run.ends()


def twice(run):
    run.start()
    run.kill([signal.SIGTERM, signal.SIGINT][run.number % 2])
    run.kill(signal.SIGTERM)
    return run.ends()


def launch(prosody):
    """Starts it and waits for nothing."""
    with open(prosody.directory / "output", "wb") as output:
        prosody.process = subprocess.Popen(
            ["/usr/bin/prosody", "-F", "--config", str(prosody.config)], env=prosody.environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
    prosody.pid = prosody.process.pid


# Before Prosody has its handlers it ends by the signal.
WHILE_STARTING = (0, -signal.SIGTERM)


def starting(run):
    """At another moment each time."""
    launch(run.prosody)
    time.sleep(run.number * 7 % 40 / 100)
    run.kill(signal.SIGTERM)
    return run.ends(WHILE_STARTING, complete=False)


def started(run):
    """As soon as metre has started, which is a moment before Prosody has its handlers."""
    launch(run.prosody)
    wait_for("metre's threads", lambda: run.tally()[0] > 1)
    run.kill(signal.SIGTERM)
    return run.ends(WHILE_STARTING)


def daemon(run):
    run.start(daemonize=True)
    run.kill([signal.SIGTERM, signal.SIGINT][run.number % 2])
    return run.ends()


CASES = {
    "SIGTERM": by_signal(signal.SIGTERM),
    "SIGINT": by_signal(signal.SIGINT),
    "SIGHUP three times, then SIGTERM": reload,
    "prosodyctl shell server:shutdown()": shell,
    "two signals in a row": twice,
    "SIGTERM while it starts": starting,
    "SIGTERM once metre's threads are there": started,
    "daemonized: SIGTERM, SIGINT": daemon,
}


class Case:
    """Named as the table wants it."""

    lua = "5.4"

    def __init__(self, name):
        self.name = "Prosody: " + name
        self.act = CASES[name]

    def run(self, number):
        with Run(number) as run:
            try:
                seconds = self.act(run)
            except Exception as problem:  # whatever it is, it counts as one failure, and the others go on
                run.problems.append(f"{type(problem).__name__}: {problem}")
                seconds = 0
            return run.problems, seconds


def main():
    given = arguments(__doc__).parse_args()
    start = time.monotonic()
    table = Table()
    cases = [Case(name) for name in CASES if given.only in name]
    runs = range(given.first, given.first + given.runs)
    run_in_turn(table, cases, runs, WORKERS, given.seconds, Case.run)
    report(table, start)


if __name__ == "__main__":
    main()
