"""One Prosody from its start to its end: load, faults, and what has become of it."""

import collections
import contextlib
import heapq
import itertools
import random
import threading
import time

import accounts
import faults
from harness import wait_for
from load import RESIDENTS, VISITORS, Load
from scrapers import Honest

# Seconds after the last fault until everything works again.
RECOVERY = 15

# Bytes that resident memory and Lua's heap may grow by after warming up. With any provider Prosody keeps some 2 to 3 kB of each
# session and each connection that logs nobody in, and each thread's allocator keeps what it once had.
MOST_GROWN = (4 << 20, 2 << 20)


class Run(threading.Thread):
    """One Prosody from its start to its end."""

    def __init__(self, victim, seed, seconds, prometheus=None):
        super().__init__(daemon=True)
        self.victim, self.seconds, self.prometheus = victim, seconds, prometheus
        self.random = random.Random(f"{seed} {victim.name}")
        self.begun = collections.Counter()
        self.active = victim.active
        self.descriptors_back = 0
        self.wrong = []

    def run(self):
        try:
            self.all()
        except BaseException as why:  # noqa: B902
            self.wrong.append(f"{type(why).__name__}: {why}")
            raise

    def all(self):
        victim, began = self.victim, time.monotonic()
        victim.server.start()
        victim.add_users(RESIDENTS + VISITORS)
        victim.start_without_threads()
        wait_for("metre to say so", lambda: "Neither exporter nor statsd pusher run yet" in victim.log())
        victim.refuse_threads(False)
        wait_for("the exporter", lambda: "Serving metrics at" in victim.log())
        wait_for("a page", self.serves)
        wait_for("the first push", self.receives)
        if self.prometheus:
            wait_for("Prometheus", lambda: self.prometheus.query("up") == 1)
        self.begun["thread spawning refused at the start"] += 1
        self.start = {"descriptors": len(victim.descriptors()), "threads": victim.threads()}
        load = Load(victim, self.random.random())
        honest = Honest(victim, self.excuses)
        load.start()
        honest.start()
        warm, end = began + max(self.seconds / 5, 30), began + self.seconds
        self.befall(min(warm, end))
        self.memory_start = victim.resident()
        self.befall(end)
        self.recover(honest)
        load.end()
        self.wrong += load.faults
        self.account()
        honest.end()
        self.settle()
        self.memory_end = victim.resident()
        self.finish()
        self.load, self.honest = load, honest
        self.wrong += honest.faults[:10]

    def serves(self):
        with contextlib.suppress(OSError):
            return self.victim.samples()

    def receives(self):
        self.victim.server.read()
        return self.victim.server.account.lines

    def excuses(self, since):
        """Whether nobody could connect at some time since then."""
        return "descriptors" in self.active or self.descriptors_back > since - 1

    def befall(self, until):
        """Faults in a random order, all kinds in turn, each for a random time."""
        due, number = [], itertools.count()
        bag, next_at = [], 0
        while time.monotonic() < until:
            while due and due[0][0] <= time.monotonic():
                self.put_right(heapq.heappop(due)[2])
            bag = bag or self.random.sample(kinds_of(self.victim), len(kinds_of(self.victim)))
            kind = next((kind for kind in bag if kind.resource() not in self.active), None)
            if kind and time.monotonic() >= next_at:
                bag.remove(kind)
                fault = kind(self.victim, self.random)
                self.active[kind.resource()] = fault
                self.begun[kind.name] += 1
                fault.begin()
                heapq.heappush(due, (time.monotonic() + self.random.uniform(*fault.holds), next(number), fault))
                next_at = time.monotonic() + self.random.uniform(0.1, 1)
            time.sleep(0.02)
        for _, _, fault in sorted(due):
            self.put_right(fault)

    def put_right(self, fault):
        self.wrong += fault.end() or []
        if fault.resource() == "descriptors":
            self.descriptors_back = time.monotonic()
        del self.active[fault.resource()]

    def recover(self, honest):
        """Everything works again, soon."""
        start = time.monotonic()
        victim = self.victim
        wait_for("a page", self.serves, RECOVERY)
        wait_for("the log", lambda: victim.log_works(f"recovered {time.monotonic()}"), RECOVERY)
        collections = ("prosody_stats_collection_seconds_bucket", (("le", "+Inf"),))
        before = victim.samples()[collections]
        wait_for("a collection", lambda: victim.samples()[collections] > before, RECOVERY)
        scrapes = honest.scrapes
        wait_for("the honest scraper", lambda: honest.scrapes > scrapes, RECOVERY)
        self.recovery = time.monotonic() - start

    def account(self):
        """Compares everything."""
        victim = self.victim
        self.report = victim.ask("report", pause=True)
        entries = self.report["entries"]
        samples = victim.samples()
        self.page = accounts.page(entries, samples)
        self.notice(samples)

        def statsd():
            victim.server.read()
            self.statsd = accounts.Statsd(victim.server.account, victim.tags).compare(entries)
            return not self.statsd.differences
        with contextlib.suppress(TimeoutError):
            wait_for("the statsd server", statsd, RECOVERY)
        self.wrong += self.page.differences + self.statsd.differences
        if self.prometheus:
            self.ask_prometheus(entries)
        self.wrong += [f"not statsd: {line}" for line in victim.server.account.bad[:5]]

    def ask_prometheus(self, entries):
        counted = sum(entry["page"] for entry in entries if entry["name"].endswith("/tally"))
        shown = "sum(prosody_mod_metre_soak__tally_total)"
        wait_for("Prometheus", lambda: self.prometheus.query(shown) == counted, RECOVERY)
        self.scraped = [self.prometheus.query(f"{what}_over_time(up[1d])") for what in ("sum", "count")]

    def notice(self, samples):
        """That the faults have had an effect, by what metre tells of them."""
        def value(name, **labels):
            return samples.get((f"metre_{name}_total", tuple(sorted(labels.items()))), 0)
        self.noticed = {
            "connections to the statsd server that failed": value("statsd_errors"),
            "look-ups of its name that failed": value("statsd_resolve_failures"),
            "connections of scrapers cut": sum(value("cut_connections", reason=why) for why in ("slow_request", "slow_answer", "room")),
            "series that went": value("expired_series", family="prosody_mod_metre_soak__passing"),
        }
        if self.victim.manual:
            self.noticed["collections that failed"] = value("collections", result="failed")
            self.noticed["collections that were late"] = value("collections", result="late")
        # The clock was a day ahead or behind at most.
        created = [value for (name, _), value in samples.items() if name.endswith("_created")]
        self.wrong += [f"created at {value}" for value in created if abs(value - time.time()) > 90_000]
        self.wrong += [f"no effect: {what}" for what, count in self.noticed.items() if not count]

    def settle(self):
        """Descriptors and threads are what they were."""
        def now():
            # Lua closes a log that was opened anew only when it collects garbage.
            self.victim.ask("clean")
            return {"descriptors": len(self.victim.descriptors()), "threads": self.victim.threads()}

        def is_as_before():
            return all(now()[key] <= self.start[key] for key in self.start)
        with contextlib.suppress(TimeoutError):
            wait_for("descriptors and threads", is_as_before)
        self.end = now()
        if not is_as_before():
            self.wrong.append(f"{self.start} at the start, {self.end} at the end")

    def finish(self):
        victim = self.victim
        self.stopped = victim.stop()
        status = victim.process.returncode
        if self.stopped > 3 or status != 0:
            self.wrong.append(f"it took {self.stopped:.1f} s to stop, with status {status}")
        self.wrong += [f"in the log: {line}" for line in victim.complaints()[:20]]
        for start, end, most in zip(self.memory_start, self.memory_end, MOST_GROWN):
            if end - start > most:
                self.wrong.append(f"its memory has grown from {start} to {end:.0f} bytes")


def kinds_of(victim):
    return [kind for kind in faults.ALL if victim.manual or kind is not faults.FailingCollection]
