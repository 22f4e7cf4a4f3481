"""Scrapers: one that is as Prometheus, and hundreds that hang."""

import contextlib
import http.client
import random
import socket
import threading
import time

from harness import OPENMETRICS, parse

# A scrape may take so long, in seconds, whatever happens.
BOUND = 5
TOKEN = "let-me-in"
TOGETHER = "prosody_mod_metre_soak__together"


def get(port, timeout=BOUND, connection=None):
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("GET", "/metrics", headers=dict(OPENMETRICS, Authorization=f"Bearer {TOKEN}"))
    answer = connection.getresponse()
    page = answer.read().decode()
    if answer.status != 200:
        raise AssertionError(f"{answer.status}: {page}")
    return page


class Honest(threading.Thread):
    """Scrapes twice a second, and looks closely at each page. `excused()` says whether the machine can't connect anybody right now."""

    def __init__(self, victim, excused):
        super().__init__(daemon=True)
        self.victim, self.excused = victim, excused
        self.scrapes = self.missed = 0
        self.slowest = 0
        self.faults = []
        self.before = {}
        self.ends = threading.Event()

    def run(self):
        while not self.ends.wait(0.5):
            self.scrape()

    def scrape(self):
        start = time.monotonic()
        try:
            # Who was idle may have been replaced meanwhile, so one retry.
            page = None
            while page is None:
                try:
                    page = get(self.victim.port)
                except (ConnectionError, http.client.HTTPException):
                    if time.monotonic() - start > BOUND:
                        raise
                    time.sleep(0.05)
        except (OSError, http.client.HTTPException) as why:
            if self.excused(start):
                self.missed += 1
            else:
                self.faults.append(f"no page within {BOUND} s: {why!r}")
            return
        took = time.monotonic() - start
        self.slowest = max(self.slowest, took)
        if took > BOUND and not self.excused(start):
            self.faults.append(f"a page took {took:.1f} s")
        try:
            self.check(parse(page))
        except (ValueError, AssertionError) as why:
            self.faults.append(f"{why!r}")
        self.scrapes += 1

    def check(self, samples):
        """Counters don't go back unless they say that they have begun anew; gauges that belong together are together."""
        for (name, labels), value in samples.items():
            if name.endswith("_total") or name.endswith("_bucket") or name.endswith("_count"):
                base = name.rsplit("_", 1)[0]
                created = samples.get((base + "_created", tuple(label for label in labels if label[0] != "le")))
                earlier = self.before.get((name, labels))
                if earlier and earlier[1] == created and value < earlier[0]:
                    self.faults.append(f"{name}{labels} went from {earlier} to {value}, created {created}")
                self.before[(name, labels)] = (value, created)
        self.before = {key: value for key, value in self.before.items() if key in samples}
        together = {labels: value for (name, labels), value in samples.items() if name == TOGETHER}
        if set(together.values()) - {3}:
            self.faults.append(f"half counted: {together}")

    def end(self):
        self.ends.set()
        self.join()


DEAF_REQUEST = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


class Hung:
    """Clients that take connections and do nothing with them."""

    SILENT, HALF, DEAF = range(3)

    def __init__(self, port, count, choose=random):
        self.sockets = []
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0.2)
            self.sockets.append(connection)
            with contextlib.suppress(OSError):
                connection.connect(("127.0.0.1", port))
                how = choose.randrange(3)
                if how == self.HALF:
                    connection.send(b"GET /metrics HTTP/1.1\r\nHost: local")
                elif how == self.DEAF:
                    connection.send(DEAF_REQUEST * 20)

    def close(self):
        for connection in self.sockets:
            connection.close()
