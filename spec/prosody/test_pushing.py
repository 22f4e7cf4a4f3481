"""Pushing where nobody scrapes: who has Prosody collect, how often; and Unix sockets."""

import asyncio
import contextlib
import pathlib
import re
import socket
import struct
import tempfile
import threading
import time
import unittest

from harness import Exporting, Prosody, clients, wait_for
from statsd_servers import Listener

CONNECTIONS = "prosody.prosody_mod_c2s.connections.localhost.c2s.ipv4"


def pushing(server, config="", interval='"manual"'):
    """Options of a Prosody that pushes, and collects only when asked unless told otherwise."""
    statsd = f'statsd = {{ server = "{server}"; flush_interval = 0.1 }}'
    return f"statistics_interval = {interval} statistics_config = {{ {statsd}; {config} }}"


class Collections:
    """Counts a Prosody's collections from now on."""

    def __init__(self, prosody):
        self.prosody = prosody
        self.start = time.monotonic()
        prosody.shell("""> prosody.metre_collections = 0; prosody.events.add_handler("stats-update", function ()
            prosody.metre_collections = prosody.metre_collections + 1; end); return "done";""".replace("\n", " "))

    def count(self):
        return int(re.search(r"collections: (\d+)", self.prosody.shell(
            '> return "collections: " .. prosody.metre_collections'))[1])

    def most(self, interval):
        """How many there may be by now for a pusher."""
        return (time.monotonic() - self.start) / interval + 1


async def connected(prosody, listener, number):
    """Logs that many clients in, and waits until the gauge of connections says so."""
    async with clients(prosody, number):
        await asyncio.get_running_loop().run_in_executor(None, listener.wait_for, CONNECTIONS, number)


class PushingOnly(unittest.TestCase):
    def test_gauges_are_measured(self):
        with Listener() as listener, Prosody(options=pushing(f"127.0.0.1:{listener.port}", "collect_interval = 1")) as prosody:
            prosody.add_users(2)
            prosody.start()
            collections = Collections(prosody)
            asyncio.run(connected(prosody, listener, 2))
            listener.wait_for(CONNECTIONS, 0)
            self.assertLessEqual(collections.count(), collections.most(1))
            # Whatever is loaded or unloaded, and after a reload.
            prosody.shell('module:unload("http_openmetrics", "*")')
            prosody.shell('module:reload("c2s", "*")')
            prosody.reload()
            asyncio.run(connected(prosody, listener, 1))
            self.assertLess(prosody.stop(), 30)
            self.assertEqual([line for line in prosody.complaints() if "metre" in line], [])

    def test_a_number_is_left_to_prosody(self):
        with Listener() as listener, Prosody(
            options=pushing(f"127.0.0.1:{listener.port}", "collect_interval = 0.1", interval=3600)
        ) as prosody:
            prosody.start()
            collections = Collections(prosody)
            prosody.shell('> require "core.statsmanager".metric("gauge", "told"):with_labels():set(1)')
            listener.wait_for("prosody.told", 1)
            for number in range(2, 15):
                prosody.shell(f'> require "core.statsmanager".metric("gauge", "told"):with_labels():set({number})')
                listener.wait_for("prosody.told", number)
            self.assertEqual(collections.count(), 0)

    def test_a_module_that_fails_does_so_once_an_interval(self):
        with Listener() as listener, Prosody(options=pushing(f"127.0.0.1:{listener.port}", "collect_interval = 0.5")) as prosody:
            prosody.start()
            collections = Collections(prosody)
            prosody.shell('> prosody.events.add_handler("stats-update", function () error("as the test wants it") end, -5)')
            wait_for("some collections", lambda: collections.count() >= 4)
            self.assertLessEqual(collections.count(), collections.most(0.5))
            self.assertEqual(prosody.log().count("A module failed while statistics were collected: "), 1)


class BesideScrapes(unittest.TestCase):
    def start(self, stack, config):
        listener = stack.enter_context(Listener())
        statsd = f'statsd = {{ server = "127.0.0.1:{listener.port}"; flush_interval = 0.1 }}'
        prosody = stack.enter_context(Exporting("collect_min_interval = 0;", config=f"{statsd}; {config}"))
        return prosody.serves()

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def test_collections_are_shared(self):
        prosody = self.start(self.stack, "collect_interval = 60")
        # The pusher's own.
        wait_for("the first one", lambda: "metre_last_collection_timestamp_seconds " in prosody.page())
        collections = Collections(prosody)
        for _ in range(20):
            prosody.scrape()
        self.assertLessEqual(collections.count(), 20 + collections.most(60))

    def test_nothing_piles_up_while_prosody_stands_still(self):
        prosody = self.start(self.stack, "collect_interval = 0.1")
        collections = Collections(prosody)
        wait_for("a collection", collections.count)
        with prosody.blocked():
            before = time.monotonic()
            blocked = ("metre_event_loop_blocked_seconds", ())
            wait_for("a long time", lambda: prosody.samples()[blocked] > 4)
            missed = (time.monotonic() - before) / 0.1
        # One that was asked for meanwhile, and what came before and after.
        counted = collections.count()
        self.assertLessEqual(counted, collections.most(0.1) - missed + 2)
        wait_for("more", lambda: collections.count() > counted)


class StreamListener(threading.Thread):
    """Reads packets from a Unix stream socket as Datadog's agent does, and adds their counters up."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.counters, self.gauges, self.bad = {}, {}, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.connection = None
        self.start()

    def run(self):
        while True:
            try:
                self.connection, _ = self.socket.accept()
                with self.connection, self.connection.makefile("rb") as stream:
                    self.read(stream)
            except OSError:
                return

    def read(self, stream):
        while header := stream.read(4):
            (length,) = struct.unpack("<I", header)
            packet = stream.read(length)
            if len(packet) != length or not 0 < length <= 8192:
                self.bad.append(packet)
                return
            for line in packet.decode().split("\n"):
                name, value, kind = re.fullmatch(r"([^:]+):([^|]+)\|([cg])", line).groups()
                if kind == "c":
                    self.counters[name] = self.counters.get(name, 0) + float(value)
                else:
                    self.gauges[name] = float(value)

    def wait_for(self, name, value):
        wait_for(f"{name} to be {value}", lambda: self.counters.get(name) == value or self.gauges.get(name) == value)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        if self.connection and self.connection.fileno() >= 0:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.join(30)
        self.socket.close()


class UnixSockets(unittest.TestCase):
    def test_a_stream_of_packets(self):
        with tempfile.TemporaryDirectory(prefix="metre-") as directory:
            path = pathlib.Path(directory) / "dsd.sock"
            listener = StreamListener(path)
            with Prosody(options=pushing(f"unixstream://{path}", "collect_interval = 1")) as prosody:
                prosody.add_users(2)
                prosody.start()
                asyncio.run(connected(prosody, listener, 2))
                self.count(prosody, 1000)
                listener.wait_for("prosody.load", 1000)
                listener.close()
                path.unlink()
                self.count(prosody, 500)
                wait_for("the log line", lambda: "Cannot reach the statsd server" in prosody.log())
                again = StreamListener(path)
                again.wait_for("prosody.load", 500)
                self.count(prosody, 5)
                self.assertLess(prosody.stop(), 30)
                # The last values have been sent.
                again.wait_for("prosody.load", 505)
                again.close()
            self.assertEqual(listener.bad + again.bad, [])

    def count(self, prosody, number):
        prosody.shell(f'> require "core.statsmanager".metric("counter", "load"):with_labels():add({number})')

    def test_a_path_that_is_none(self):
        with Prosody(options=pushing("unixstream://dsd.sock")) as prosody:
            prosody.start()
            self.assertIn(
                "'statsd.server' is the string \"unixstream://dsd.sock\": its path does not begin with '/'", prosody.log()
            )


if __name__ == "__main__":
    unittest.main()
