"""What befalls a Prosody: each fault begins, holds for a while, and ends."""

import contextlib
import os
import signal
import socket
import time

from scrapers import Hung


class Fault:
    """A fault of one Prosody. Two that need the same thing exclude each other; all others may hold at the same time."""

    needs = None
    holds = (0.3, 3)

    def __init__(self, victim, choose):
        self.victim, self.choose = victim, choose

    @classmethod
    def resource(cls):
        return cls.needs or cls.name

    def begin(self):
        pass

    def end(self):
        """May return a list of what is wrong."""


class ServerAway(Fault):
    """The statsd server is killed; connections are refused until it is started again."""

    name, needs = "statsd server killed, and started later", "server"

    def begin(self):
        self.victim.server.kill()

    def end(self):
        self.victim.server.start()


class ServerReplaced(Fault):
    name, needs, holds = "statsd server killed, another at its socket at once", "server", (0, 0.2)

    def begin(self):
        self.victim.server.replace()


class ServerStopped(Fault):
    """It reads nothing, for as long as its buffer is sure to hold what comes."""

    name, needs = "statsd server stopped", "server"

    def __init__(self, victim, choose):
        super().__init__(victim, choose)
        self.holds = (0.3, victim.server.longest_pause)

    def begin(self):
        self.victim.server.pause()

    def end(self):
        self.victim.server.resume()


class HungScrapers(Fault):
    name, holds = "hundreds of scrapers that hang", (1, 5)
    count = 200

    def begin(self):
        self.hung = Hung(self.victim.port, self.count, self.choose)

    def end(self):
        self.hung.close()


class LogFull(Fault):
    """The log goes to a device that is full."""

    name, needs = "disk full for the log", "log"

    def begin(self):
        log = self.victim.log_file
        self.kept = log.with_suffix(".kept")
        os.replace(log, self.kept)
        log.symlink_to("/dev/full")
        os.kill(self.victim.pid, signal.SIGHUP)

    def end(self):
        os.replace(self.kept, self.victim.log_file)
        os.kill(self.victim.pid, signal.SIGHUP)


class NoDescriptors(Fault):
    """Not one descriptor is left. Ends with the log opened anew: Prosody goes without one if it is told to in between."""

    name, needs = "no descriptors allowed", "descriptors"

    def begin(self):
        self.victim.limit_descriptors(self.lowest())

    def lowest(self):
        taken = set(self.victim.descriptors())
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def end(self):
        self.victim.limit_descriptors()
        os.kill(self.victim.pid, signal.SIGHUP)
        # It may have been unloaded, and not found again.
        self.victim.ask("reload", host="localhost", module="metre_soak")


class DescriptorsTaken(NoDescriptors):
    """Clients take them all."""

    name = "all descriptors taken by clients"

    def begin(self):
        self.victim.limit_descriptors(len(self.victim.descriptors()) + 20)
        self.hung = Hung(self.victim.port, 40, self.choose)
        # Few: Prosody keeps some two kilobytes of each for a long time, with any provider.
        self.clients = []
        for _ in range(5):
            client = socket.socket()
            client.settimeout(0.2)
            self.clients.append(client)
            with contextlib.suppress(OSError):
                client.connect(("127.0.0.1", self.victim.c2s_port))

    def end(self):
        super().end()
        self.hung.close()
        for client in self.clients:
            client.close()


class NoThreads(Fault):
    """The name of the statsd server is looked up in a thread of its own, each second."""

    name, holds = "thread spawning refused", (1, 4)

    def begin(self):
        self.victim.refuse_threads(True)

    def end(self):
        self.victim.refuse_threads(False)


class ClockSet(Fault):
    name, holds = "clock set back or forward", (1.5, 4)
    offsets = (-3600, -86400, -1, 1, 3600, 86400)

    def begin(self):
        self.offset = self.choose.choice(self.offsets)
        self.victim.set_clock(self.offset)

    def end(self):
        before = time.time()
        shown = self.victim.ask("time")["time"] - self.offset
        after = time.time()
        self.victim.set_clock(0)
        # Without descriptors the library that shows it can't read it.
        if not before - 0.1 < shown < after + 0.1 and "descriptors" not in self.victim.active:
            return [f"the clock was not set: {shown} instead of {before} to {after}"]


class SlowCollection(Fault):
    name, needs = "collection that takes long", "collection"

    def begin(self):
        self.victim.ask("collection", slow=self.choose.uniform(1, 3))


class FailingCollection(Fault):
    """Only where metre runs it: an error in one of Prosody's own ends those for good."""

    name, needs, holds = "collection that fails", "collection", (0.5, 1)

    def begin(self):
        self.victim.ask("collection", fails=True)


class Reloads(Fault):
    name, holds = "modules reloaded in a loop", (1, 3)

    def begin(self):
        for _ in range(20):
            self.victim.ask("reload", host="localhost", module="metre_soak")
            time.sleep(0.02)
        for module in ("ping", "disco", "csi_simple", "presence"):
            self.victim.ask("reload", host="localhost", module=module)


class ConfigReloads(Fault):
    name, holds = "configuration reloaded", (0, 0.5)

    def begin(self):
        for _ in range(5):
            os.kill(self.victim.pid, signal.SIGHUP)
            time.sleep(0.05)


ALL = [
    ServerAway, ServerReplaced, ServerStopped, HungScrapers, LogFull, NoDescriptors, DescriptorsTaken, NoThreads, ClockSet,
    SlowCollection, FailingCollection, Reloads, ConfigReloads,
]
