"""What scrapes of large pages cost: the renderer's time, the whole scrape's, and by how much the process's memory peaks for it.

The client reads as fast as it can and looks at nothing; Prosody collects nothing meanwhile. With BEFORE=DIR the module in that
directory is measured, too, turn by turn with the one in METRE_MODULES; metre's Lua files are this tree's for both. SIZES="1000 10000"
measures these only, ROUNDS=5 is the default.
"""

import contextlib
import os
import pathlib
import socket
import statistics
import time
from unittest import mock

from harness import DEADLINE, Exporting

TITLE = "Scrapes of large pages"
ROUNDS = int(os.environ.get("ROUNDS", 5))
SIZES = [int(size) for size in os.environ.get("SIZES", "").split()] or [1_000, 100_000, 1_000_000]
BEFORE = os.environ.get("BEFORE")
SPENT = "metre_render_seconds"


def exporting(modules, kind, size):
    """A Prosody with the module in that directory, and so many series with the labels host, number and user."""
    with mock.patch.dict(os.environ, METRE_MODULES=modules):
        return Exporting(
            interval=3600, modules=["metre_many"],
            options=f'metre_many_type = "{kind}" metre_many_series = {size}',
            config="limits = { max_series = 10000000; max_series_per_family = 10000000 };",
        )


def status(pid, name):
    """Bytes of memory, by what they are."""
    return int(pathlib.Path(f"/proc/{pid}/status").read_text().split(f"{name}:")[1].split()[0]) * 1024


def fetch(prosody, gzip):
    """Seconds that a scrape took, and its bytes."""
    encoding = "Accept-Encoding: gzip\r\n" if gzip else ""
    request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{encoding}Connection: close\r\n\r\n"
    room, length = bytearray(1 << 20), 0
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", prosody.port), DEADLINE) as client:
        client.sendall(request.encode())
        while received := client.recv_into(room):
            length += received
    return time.monotonic() - start, length


class Server:
    """One build's, with what its scrapes have cost."""

    def __init__(self, prosody, size):
        self.prosody, self.size = prosody, size
        self.resident = status(prosody.pid, "VmRSS")
        self.found = {"renderer": [], "scrape": []}
        self.peak = 0

    def spent(self):
        return self.prosody.samples(f"/metrics?name[]={SPENT}")[(f"{SPENT}_sum", ())]

    def scrape(self, gzip, counts):
        """Scrapes once; the time of the first one doesn't count, its memory does."""
        before = self.spent()
        # "To reset the peak resident set size" (proc(5)).
        pathlib.Path(f"/proc/{self.prosody.pid}/clear_refs").write_text("5")
        took, length = fetch(self.prosody, gzip)
        self.peak = max(self.peak, status(self.prosody.pid, "VmHWM"))
        if counts:
            self.found["renderer"].append((self.spent() - before) / self.size * 1e9)
            self.found["scrape"].append(took / self.size * 1e9)
        self.length = length

    def row(self):
        times = (statistics.median(times) for times in self.found.values())
        return [*times, self.length / self.size, self.resident / 1e6, (self.peak - self.resident) / 1e6]


def measure(kind, gzip, size):
    """A row for each build."""
    builds = {"metre": os.environ["METRE_MODULES"], **({"before": BEFORE} if BEFORE else {})}
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, modules in builds.items():
            prosody = stack.enter_context(exporting(modules, kind, size))
            servers[name] = Server(prosody.serves(deadline=600), size)
        for number in range(ROUNDS + 1):
            for server in servers.values():
                server.scrape(gzip, number > 0)
        return {name: server.row() for name, server in servers.items()}


def run(report):
    rows = []
    for size in SIZES:
        for kind, gzip in (("counter", False), ("counter", True), ("gauge", False)):
            for name, row in measure(kind, gzip, size).items():
                rows.append([f"{size:,} {kind}s, {'gzip' if gzip else 'text'}{f', {name}' if BEFORE else ''}", *row])
    report.table(
        f"Series of 3 labels, medians of {ROUNDS} scrapes after the first one",
        ["", "ns a series, renderer", "ns a series, whole scrape", "bytes a series", "resident before, MB", "peak above that, MB"],
        rows,
    )
