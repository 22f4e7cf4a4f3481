"""How long a collection takes, by the number of hosts and sessions, with and without the operator pack."""

import contextlib
import os
import random
import re
import shutil
import statistics

from harness import HOST, ROOT, Exporting
from operator_pages import other_hosts
from raw_clients import RawClient

SESSIONS = int(os.environ.get("SESSIONS", 2000))
SIZES = [(1, 0), (50, 0), (1, SESSIONS), (50, SESSIONS)]
TURNS, EACH = 10, 5


class Crowded(Exporting):
    """A Prosody with that many hosts, whose clients say how often it shall collect."""

    def __init__(self, hosts, users, **more):
        super().__init__(modules=["metre_marks"], plugin_paths=[ROOT / "benches/modules"], log_level="error", **more)
        self.hosts = [HOST, *other_hosts(hosts)]
        self.add_users(users)
        data = self.directory / "data"
        with self.config.open("a") as config:
            for host in self.hosts[1:]:
                print(f'VirtualHost "{host}"', file=config)
                shutil.copytree(data / HOST, data / host.replace(".", "%2e"))

    def clients(self, count):
        """So many, as many on each host."""
        for number in range(count):
            yield RawClient(f"user{number // len(self.hosts) + 2}", self.c2s_port, self.hosts[number % len(self.hosts)])

    def collect(self, client):
        """Microseconds that each of some collections took."""
        answer = client.ask(f"<iq type='get' id='c' to='{HOST}'><collect xmlns='urn:metre:marks' times='{EACH}'/></iq>", "</iq>")
        return [1e6 * float(seconds) for seconds in re.search(rb"<seconds>([^<]*)", answer)[1].split()]


def measure(hosts, sessions, turns):
    """The medians with and without the pack, in turns."""
    with contextlib.ExitStack() as stack:
        servers, times = {}, {"off": [], "on": []}
        for name, config in (("off", "operator = false;"), ("on", "")):
            prosody = stack.enter_context(Crowded(hosts, sessions // hosts + 2, config=config)).start()
            client = stack.enter_context(RawClient("user1", prosody.c2s_port))
            for other in prosody.clients(sessions):
                stack.enter_context(other)
            prosody.collect(client)
            servers[name] = prosody, client
        for _ in range(TURNS):
            order = list(servers)
            turns.shuffle(order)
            for name in order:
                prosody, client = servers[name]
                times[name] += prosody.collect(client)
        return [statistics.median(times[name]) for name in ("off", "on")]


def show(report):
    turns = random.Random(0)
    rows = []
    for hosts, sessions in SIZES:
        off, on = measure(hosts, sessions, turns)
        rows.append([f"{hosts} host{'s' * (hosts > 1)}, {sessions:,} sessions", off, on, on - off])
    report.table(
        f"A collection, medians of {TURNS * EACH}", ["µs", "`operator = false`", "with the pack", "more"], rows,
    )
    report.say("Prosody's own modules count all sessions in each collection; the pack has counted them when they came.")
