"""What statistics cost a whole Prosody: CPU time for messages and for logins, with and without them.

ROUNDS=15 MESSAGES=10000 LOGINS=200 are the defaults. Each round has servers of its own, one of each kind: two processes of a kind
differ, and that has to be in the spread. They take short turns, so that whatever else the machine does meets all of them alike; those
that wait cost next to nothing.
"""

import contextlib
import os
import random
import statistics
import threading
from typing import NamedTuple

from cpu import main_thread_clock, process_clock
from harness import ROOT, Prosody, fetch, free_port, parse, wait_for
from raw_clients import RawClient
from statsd_servers import Listener

TITLE = "A whole Prosody"
ROUNDS = int(os.environ.get("ROUNDS", 15))
MESSAGES = int(os.environ.get("MESSAGES", 10_000))
LOGINS = int(os.environ.get("LOGINS", 200))
TURNS = 10


class Kind(NamedTuple):
    provider: str = ""
    pushes: bool = False
    scraped: bool = False
    config: str = ""


KINDS = {
    "off": Kind(),
    # Shows which differences mean nothing.
    "off, once more": Kind(),
    # What modules and Prosody do for any provider, and don't without statistics.
    "a provider that does nothing": Kind(":nothing"),
    "Prosody's internal": Kind("internal"),
    "Prosody's statsd": Kind("statsd", pushes=True),
    "metre, `operator = false`": Kind(":metre", config="operator = false;"),
    "metre": Kind(":metre"),
    "metre, statsd and exporter": Kind(":metre", pushes=True, scraped=True),
}
COUNTED = ("prosody_mod_metre_stanzas__stanzas_total", (("direction", "received"), ("kind", "message"), ("type", "chat")))


class Scraper:
    """Fetches a page each second."""

    def __init__(self, url):
        self.url = url
        self.pages = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.done.is_set():
            fetch(self.url)
            self.pages += 1
            self.done.wait(1)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def answers(url):
    with contextlib.suppress(OSError):
        return fetch(url)


@contextlib.contextmanager
def serving(kind):
    """A server of this kind, and whatever it pushes to and is scraped by."""
    with contextlib.ExitStack() as stack:
        address = f"127.0.0.1:{free_port()}"
        config, options = kind.config, ""
        if kind.pushes:
            listener = stack.enter_context(Listener())
            config += f'statsd_server = "127.0.0.1"; statsd_port = {listener.port};'
        if kind.scraped:
            config += f'exporter = "{address}"'
        if kind.provider:
            options = f"statistics_interval = 1 statistics_config = {{ {config} }}"
        prosody = stack.enter_context(Prosody(
            kind.provider, options, modules=["metre_stanzas"], plugin_paths=[ROOT / "benches/modules"], log_level="warn",
        ))
        prosody.environment["LUA_PATH"] = f"{ROOT}/benches/lua/?.lua;" + prosody.environment["LUA_PATH"]
        prosody.add_users(3)
        prosody.start()
        if kind.scraped:
            page = f"http://{address}/metrics"
            wait_for("the exporter", lambda: answers(page))
            scraper = stack.enter_context(Scraper(page))
        yield prosody
        # What isn't done costs nothing.
        if kind.pushes and not any("stanzas" in name for name in listener.counters):
            raise AssertionError("nothing was pushed")
        if kind.scraped and not scraper.pages:
            raise AssertionError("nobody has scraped")


class Patient:
    """A server that is measured, and the CPU milliseconds that it has taken: of the process, and of its main thread."""

    def __init__(self, kind, prosody):
        self.kind = kind
        self.prosody = prosody
        self.clocks = process_clock(prosody.pid), main_thread_clock(prosody.pid)
        self.messages, self.logins = [0, 0], [0, 0]

    def log_in(self):
        """Two clients, of which one will send and the other receive."""
        self.clients = [RawClient(user, self.prosody.c2s_port) for user in ("user1", "user2")]
        return self.clients

    def _add(self, spent, work):
        before = [clock() for clock in self.clocks]
        work()
        for number, clock in enumerate(self.clocks):
            spent[number] += 1000 * (clock() - before[number])

    def send(self, count):
        sender, receiver = self.clients
        self._add(self.messages, lambda: sender.send_messages(receiver, count))

    def log_in_and_out(self, count):
        def work():
            for _ in range(count):
                # Not one of those two, whom that would throw out.
                with RawClient("user3", self.prosody.c2s_port) as client:
                    client.log_out()
        self._add(self.logins, work)

    def forget(self):
        self.messages, self.logins = [0, 0], [0, 0]

    def check(self, sent):
        """Whether everything was counted, and nothing went wrong."""
        if self.kind.provider in ("internal", ":metre"):
            counted = parse(self.prosody.page())[COUNTED]
            if counted != sent:
                raise AssertionError(f"{counted} messages were counted, and {sent} sent")
        if self.prosody.complaints():
            raise AssertionError(self.prosody.complaints())


def measure(turns):
    """One round: for each kind what 1,000 messages cost, and what a login does."""
    with contextlib.ExitStack() as stack:
        patients = {name: Patient(kind, stack.enter_context(serving(kind))) for name, kind in KINDS.items()}
        for one in patients.values():
            for client in one.log_in():
                stack.enter_context(client)
        # The first one warms up.
        for number in range(TURNS + 1):
            order = list(patients.values())
            turns.shuffle(order)
            for one in order:
                one.send(MESSAGES // TURNS)
                one.log_in_and_out(LOGINS // TURNS)
                if number == 0:
                    one.forget()
        for one in patients.values():
            one.check(MESSAGES // TURNS * (TURNS + 1))
    messages, logins = MESSAGES // TURNS * TURNS / 1000, LOGINS // TURNS * TURNS
    return {name: [[cpu / messages for cpu in one.messages], [cpu / logins for cpu in one.logins]] for name, one in patients.items()}


def show(report, title, found):
    """A table of milliseconds by kind, each round's against the same round's without statistics."""
    rows = []
    for name, times in found.items():
        more = [one - off for one, off in zip(times, found["off"])]
        middle = statistics.median(more)
        deviation = statistics.median(abs(one - middle) for one in more)
        ratio = statistics.median(one / off for one, off in zip(times, found["off"]))
        rows.append([name, statistics.median(times), min(times), max(times), middle, deviation, f"{ratio:.3f}"])
    columns = ["CPU ms", "median", "lowest", "highest", "more than off", "median deviation of that", "ratio to off"]
    report.table(title, columns, rows)


def run(report):
    found = {name: [] for name in KINDS}
    # Nobody always comes after the same neighbour; it is the same order in each run.
    turns = random.Random(0)
    for _ in range(ROUNDS):
        for name, costs in measure(turns).items():
            found[name].append(costs)
    report.say(
        f"{ROUNDS} servers of each kind, {MESSAGES:,} messages and {LOGINS} logins each, in turns. "
        "A module does 10 updates for each message; it is there without statistics, too. "
        "With them Prosody collects each second, and the exporter is scraped each second. metre has its operator pack, unless that is off."
    )
    for what, work in enumerate(["1,000 messages", "a login and logout"]):
        for who, whose in enumerate(["the whole process", "its main thread"]):
            show(report, f"{work}, {whose}", {name: [one[what][who] for one in times] for name, times in found.items()})
    others = statistics.median(messages[0] - messages[1] for messages, _ in found["metre, statsd and exporter"])
    report.say(f"Of that metre's own threads take {1000 * others:.0f} µs for 1,000 messages.")
