"""The statsd pusher in a real Prosody, with real servers."""

import asyncio
import os
import pathlib
import re
import subprocess
import threading
import time
import unittest

from harness import HOST, Prosody, chat, clients, free_port, only_ours, parse, wait_for
from statsd_servers import Collectd, Listener, NodeStatsd

CONNECTIONS = "prosody.prosody_mod_c2s.connections.localhost.c2s.ipv4"


async def conversation(prosody, count=3):
    async with clients(prosody, count) as everyone:
        await chat(everyone)


def statsd(port, options="flush_interval = 0.1"):
    return f'statistics_config = {{ statsd = {{ server = "127.0.0.1:{port}"; {options} }} }}'


def count(prosody, metric, number):
    """Has Prosody count that far, one by one."""
    prosody.shell(f"""> local m = require "core.statsmanager".metric("counter", "load", "", "", {{ "which" }})
        :with_labels("{metric}"); for _ = 1, {number} do m:add(1); end return "done";""".replace("\n", " "))


def statsd_log(prosody):
    """What was logged of the server, as levels."""
    lines = [line for line in prosody.log().splitlines() if "Cannot reach the statsd" in line or "The statsd server" in line]
    return [line.split("\t")[1] for line in lines]


class WithProsodysOwnAsOracle(unittest.TestCase):
    def observe(self, provider):
        with Listener() as listener:
            keys = f'statsd_server = "127.0.0.1"; statsd_port = {listener.port}; collect_interval = 3600; operator = false;'
            config = f"statistics_config = {{ {keys} }}"
            # Collections come at chosen moments: mod_c2s makes a gauge for each state in which one meets a session.
            options = f'statistics_interval = "manual" {config}'
            with Prosody(provider, options, modules=["metre_probe"]) as prosody:
                prosody.add_users(3)
                prosody.start()

                def collect(connections):
                    prosody.shell("> require 'core.statsmanager'.collect() return 'done'")
                    listener.wait_for(CONNECTIONS, connections)

                async def use():
                    async with clients(prosody, 3) as everyone:
                        await chat(everyone)
                        await asyncio.to_thread(collect, 3)
                asyncio.run(use())
                collect(0)
                prosody.stop()
            # Everything that was sent is in the socket's buffer by now.
            listener.close()
            return listener

    def test_same_names_and_totals(self):
        own, ours = self.observe("statsd"), self.observe(":metre.statsd")
        self.assertEqual(ours.bad, [])
        # Prosody's own sends a step of 0 when a counter is made; there is nothing to it.
        counted = {name for name, total in own.counters.items() if total}
        self.assertGreater(len(counted), 30)

        def same(names):
            """Which of the buckets below the last one a time is in differs from run to run."""
            return {name for name in names if not re.search(r"seconds\.bucket\.[0-9]", name)}
        self.assertEqual(same(counted) ^ same(ours.counters), set())
        self.assertEqual(set(own.gauges) ^ set(ours.gauges), set())
        steady = [name for name in counted if "probe" in name and ".bucket." not in name and not name.endswith(".sum")]
        self.assertGreater(len(steady), 5)
        for name in steady:
            self.assertEqual(own.counters[name], ours.counters[name], name)
        self.assertLess(ours.datagrams, own.datagrams / 5)


class Operation(unittest.TestCase):
    def test_daemonized_with_scrapes(self):
        with Listener() as listener, Prosody(
            options="statistics_interval = 1 " + statsd(listener.port), modules=["metre_probe"]
        ) as prosody:
            prosody.add_users(2)
            prosody.start(daemonize=True)

            async def use():
                async with clients(prosody, 2) as everyone:
                    await chat(everyone)
                    listener.wait_for(CONNECTIONS, 2)
            asyncio.run(use())
            count(prosody, "x", 1000)
            listener.wait_for("prosody.load.x", 1000)
            page = parse(prosody.page())
            self.assertEqual(page[("load_total", (("which", "x"),))], 1000)
            self.assertGreater(page[("metre_statsd_datagrams_total", ())], 0)
            self.assertLess(prosody.stop(), 3)
            self.assertEqual(prosody.complaints(), [])
            self.assertEqual(listener.bad, [])
            server = f"Pushing to the statsd server udp://127.0.0.1:{listener.port} every 0.1 s"
            self.assertEqual(prosody.log().count(server), 1)

    def test_the_last_values_go_out_at_shutdown(self):
        with Listener() as listener, Prosody(options=statsd(listener.port, "flush_interval = 3600")) as prosody:
            prosody.start()
            count(prosody, "x", 12345)
            self.assertEqual(listener.datagrams, 0)
            self.assertLess(prosody.stop(), 3)
            listener.wait_for("prosody.load.x", 12345)

    def test_a_name_that_never_resolves(self):
        config = 'statistics_config = { statsd_server = "statsd.invalid" }'
        with Prosody(":metre.statsd", "statistics_interval = 1 " + config) as prosody:
            prosody.add_users(2)
            prosody.start()
            asyncio.run(conversation(prosody, 2))
            wait_for("the log line", lambda: statsd_log(prosody))
            self.assertIn("Cannot reach the statsd server udp://statsd.invalid:8125: its name can't be resolved", prosody.log())
            failures = ("metre_statsd_resolve_failures_total", ())
            before = parse(prosody.page())[failures]
            wait_for("another attempt", lambda: parse(prosody.page())[failures] > before)
            self.assertEqual(statsd_log(prosody), ["warn"], "one line, however often it fails")
            self.assertLess(prosody.stop(), 3)

    def test_nothing_starts_in_prosodyctl(self):
        with Listener() as listener, Prosody(options=statsd(listener.port)) as prosody:
            prosody.ctl("register", "user1", HOST, "secret")
            self.assertEqual(listener.datagrams, 0)


class Servers(unittest.TestCase):
    LABELS = ["::1", "2001:db8::1", "münchen.example", "mönchen.example", "a.b", "a_b", "x:1|c", ""]

    def send(self, prosody):
        """Has Prosody set and count what servers are known to spoil."""
        for number, label in enumerate(self.LABELS):
            prosody.shell(f"""> local m = require "core.statsmanager".metric;
                m("gauge", "wire_gauge", "", "", {{ "x" }}):with_labels("{label}"):set({-number - 1});
                m("counter", "wire_counter", "", "", {{ "x" }}):with_labels("{label}"):add({number + 1});
                m("histogram", "wire_histogram", "seconds", "", {{ "x" }}, {{ buckets = {{ 0.5 }} }})
                :with_labels("{label}"):sample({number}.25); return "done";""".replace("\n", " "))

    def test_statsd_from_npm(self):
        with NodeStatsd() as server, Prosody(options=statsd(server.port)) as prosody:
            prosody.start()
            self.send(prosody)
            wanted = len(self.LABELS)

            def of(what, start):
                return {name: value for name, value in server.ask(what).items() if name.startswith(f"prosody.{start}")}
            wait_for("all counters", lambda: len(of("counters", "wire_counter")) == wanted)
            self.assertEqual(sorted(of("counters", "wire_counter").values()), list(range(1, wanted + 1)))
            wait_for("all gauges", lambda: len(of("gauges", "wire_gauge")) == wanted)
            self.assertEqual(sorted(of("gauges", "wire_gauge").values()), list(range(-wanted, 0)))
            self.assertEqual(server.ask("counters")["statsd.bad_lines_seen"], 0)
            self.assertEqual(len([name for name in of("counters", "wire_histogram") if name.endswith(".bucket.Inf")]), wanted)

    def test_statsd_from_npm_over_tcp_and_ipv6(self):
        with NodeStatsd("tcp") as by_tcp, NodeStatsd("udp", "::1") as by_ipv6:
            for server, address in (by_tcp, f"tcp://127.0.0.1:{by_tcp.port}"), (by_ipv6, f"[::1]:{by_ipv6.port}"):
                options = f'statistics_config = {{ statsd = {{ server = "{address}"; flush_interval = 0.1 }} }}'
                with self.subTest(address), Prosody(options=options) as prosody:
                    prosody.start()
                    for _ in range(3):
                        count(prosody, "x", 1000)
                    wait_for("the counter", lambda: server.ask("counters").get("prosody.load.x") == 3000)
                    self.assertEqual(server.ask("counters")["statsd.bad_lines_seen"], 0)
                    self.assertEqual([line for line in prosody.complaints() if "metre" in line], [])

    def test_timings_in_statsd_from_npm(self):
        with NodeStatsd() as server, Prosody(options=statsd(server.port, 'histograms = "timing"')) as prosody:
            prosody.start()
            self.send(prosody)
            wait_for("the timings", lambda: len([name for name in server.ask("timers") if "wire_" in name]) == len(self.LABELS))
            self.assertEqual(server.ask("timers")["prosody.wire_histogram_seconds.a_b"].strip("[] "), "4250")

    def test_collectd(self):
        with Collectd() as server, Prosody(options=statsd(server.port)) as prosody:
            prosody.start()
            self.send(prosody)
            count(prosody, "x", 1000)
            wait_for("the counter", lambda: server.value("derive", "prosody.load.x") == 1000)
            wait_for("the gauge", lambda: server.value("gauge", "prosody.wire_gauge.a_b") == -5)

    def test_killed_and_restarted_under_load(self):
        with NodeStatsd() as server, Prosody(options=statsd(server.port)) as prosody:
            prosody.add_users(3)
            prosody.start()

            def total():
                return server.ask("counters").get("prosody.load.x", 0)
            count(prosody, "x", 100_000)
            wait_for("the first counts", lambda: total() == 100_000)
            before = total()

            done = threading.Event()
            talk = threading.Thread(target=lambda: (asyncio.run(conversation(prosody)), done.set()))
            server.kill()
            talk.start()
            for _ in range(5):
                count(prosody, "x", 50_000)
            wait_for("the log line", lambda: statsd_log(prosody) == ["warn"])
            wait_for("the conversation", done.is_set)
            server.start()
            for _ in range(5):
                count(prosody, "x", 50_000)
            wait_for("the rest", lambda: before + total() == 600_000)
            wait_for("the log line", lambda: statsd_log(prosody) == ["warn", "info"])
            talk.join()
            self.assertLess(prosody.stop(), 3)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def has_route(number):
    """Whether this machine knows a way to one of the networks of this number."""
    return any(f"10.{first}.{number}." in run("ip", "route") for first in (231, 232))


class AcrossANetwork(unittest.TestCase):
    """A server in a network namespace of its own: refusals come late there, and links are slow."""

    def setUp(self):
        number = next(number for number in range(1, 255) if only_ours(f"subnet-{number}") and not has_route(number))
        self.HERE, self.THERE, self.BEYOND = f"10.231.{number}.1", f"10.231.{number}.2", f"10.232.{number}"
        self.name = f"metre{number}t{os.getpid() % 10000}"
        try:
            run("ip", "netns", "add", self.name)
            self.addCleanup(run, "ip", "netns", "del", self.name)
            run("ip", "netns", "exec", self.name, "true")
        except (OSError, subprocess.CalledProcessError) as why:
            self.skipTest(f"this machine allows no network namespaces: {why}")
        here, there = self.name, self.name + "p"
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there)
        # The namespace goes only after its last user, and would keep the link that long.
        self.addCleanup(run, "ip", "link", "del", here)
        run("ip", "link", "set", there, "netns", self.name)
        run("ip", "addr", "add", f"{self.HERE}/24", "dev", here)
        run("ip", "link", "set", here, "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.THERE}/24", "dev", there)
        run("ip", "-n", self.name, "link", "set", there, "up")

    def listen(self, port, protocol="udp"):
        """A listener over there."""
        return ListenerThere(self.name, self.THERE, port, protocol)

    def test_a_link_that_swallows_everything(self):
        port = free_port()
        options = f'statistics_config = {{ statsd = {{ server = "tcp://{self.THERE}:{port}"; flush_interval = 0.1 }} }}'
        swallow = ("dev", self.name, "root", "tbf", "rate", "8bit", "burst", "1", "limit", "1")
        with self.listen(port, "tcp") as there, Prosody(options=options) as prosody:
            prosody.start()
            count(prosody, "x", 1000)
            wait_for("the first counts", lambda: there.total("prosody.load.x") == 1000)
            run("tc", "qdisc", "add", *swallow)
            for _ in range(10):
                count(prosody, "x", 100)
            wait_for("the log line", lambda: statsd_log(prosody) == ["warn"])
            count(prosody, "x", 1000)
            run("tc", "qdisc", "del", "dev", self.name, "root")
            wait_for("the rest", lambda: there.total("prosody.load.x") == 3000)
            wait_for("the log line", lambda: statsd_log(prosody) == ["warn", "info"])

    def test_a_path_that_carries_less_than_a_datagram(self):
        # The namespace becomes a router to another one, over a link with a small MTU.
        beyond, address, port = self.name + "b", f"{self.BEYOND}.2", free_port()
        run("ip", "netns", "add", beyond)
        self.addCleanup(run, "ip", "netns", "del", beyond)
        links = ("ip", "-n", self.name, "link")
        run(*links, "add", "on", "mtu", "1000", "type", "veth", "peer", "name", "back", "mtu", "1000")
        run(*links, "set", "back", "netns", beyond)
        run("ip", "-n", self.name, "addr", "add", f"{self.BEYOND}.1/24", "dev", "on")
        run(*links, "set", "on", "up")
        run("ip", "-n", beyond, "addr", "add", f"{address}/24", "dev", "back")
        run("ip", "-n", beyond, "link", "set", "back", "up")
        run("ip", "-n", beyond, "route", "add", "default", "via", f"{self.BEYOND}.1")
        run("ip", "netns", "exec", self.name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        run("ip", "route", "add", f"{self.BEYOND}.0/24", "via", self.THERE)
        options = f'statistics_config = {{ statsd = {{ server = "{address}:{port}"; flush_interval = 0.4 }} }}'
        with ListenerThere(beyond, address, port, "udp") as there, Prosody(options=options) as prosody:
            prosody.start()
            prosody.shell("""> local f = require "core.statsmanager".metric("counter", "many", "", "", { "n" });
                for i = 1, 300 do f:with_labels("series-" .. i):add(1); end return "done";""".replace("\n", " "))
            wait_for("all of them", lambda: there.count("prosody.many.") == 300)
            self.assertEqual(len([line for line in there.lines() if line.startswith("prosody.many.")]), 300, "none twice")
            self.assertEqual(statsd_log(prosody), [])

    def test_a_throttled_link(self):
        run("tc", "qdisc", "add", "dev", self.name, "root", "tbf", "rate", "2mbit", "burst", "5kb", "latency", "20s")
        port = free_port()
        options = f'statistics_config = {{ statsd = {{ server = "{self.THERE}:{port}"; flush_interval = 0.1 }} }}'
        with self.listen(port) as there, Prosody(options=options) as prosody:
            prosody.add_users(3)
            prosody.start()
            prosody.shell("""> local f = require "core.statsmanager".metric("counter", "many", "", "", { "n" });
                for i = 1, 20000 do f:with_labels("series-" .. i):add(1); end return "done";""".replace("\n", " "))
            asyncio.run(conversation(prosody))
            wait_for("all of them", lambda: there.count("prosody.many.") == 20000)
            self.assertEqual([line for line in prosody.complaints() if "metre" in line], [])

    def test_refusals_that_come_late(self):
        port = free_port()
        options = f'statistics_config = {{ statsd = {{ server = "{self.THERE}:{port}"; flush_interval = 0.1 }} }}'
        with Prosody(options=options) as prosody:
            with self.listen(port) as there:
                prosody.start()
                # Again and again, so that there is always something on its way; and none of it is to be sent again.
                for _ in range(20):
                    count(prosody, "x", 50)
                wait_for("the first counts", lambda: there.total("prosody.load.x") == 1000)
                sent = ("metre_statsd_flush_duration_seconds_count", ())
                pushes = parse(prosody.page())[sent]
                wait_for("some more pushes", lambda: parse(prosody.page())[sent] > pushes + 5)
            count(prosody, "x", 500)
            wait_for("the log line", lambda: statsd_log(prosody) == ["warn"])
            count(prosody, "x", 500)
            with self.listen(port) as there:
                wait_for("the rest", lambda: there.total("prosody.load.x") == 1000)
                wait_for("the log line", lambda: statsd_log(prosody) == ["warn", "info"])


class ListenerThere:
    """A server in another network namespace that writes what it gets into a file."""

    def __init__(self, namespace, address, port, protocol):
        self.directory = pathlib.Path(f"/tmp/{namespace}-{port}-{time.monotonic_ns()}")
        self.directory.mkdir()
        self.output = self.directory / "lines"
        programs = {
            "udp": (
                "import socket, sys\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)\n"
                f"s.bind(({address!r}, {port}))\n"
                "out = open(sys.argv[1], 'wb', 0)\n"
                "while True: out.write(s.recv(65536) + b'\\n')\n"
            ),
            "tcp": (
                "import socketserver, sys\n"
                "class Handler(socketserver.StreamRequestHandler):\n"
                "    def handle(self):\n"
                "        for line in self.rfile: out.write(line)\n"
                f"s = socketserver.ThreadingTCPServer(({address!r}, {port}), Handler)\n"
                "out = open(sys.argv[1], 'ab', 0)\n"
                "s.serve_forever()\n"
            ),
        }
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", programs[protocol], str(self.output)]
        )
        wait_for("the listener", self.output.exists)

    def lines(self):
        return self.output.read_text().splitlines()

    def count(self, start):
        return len({line for line in self.lines() if line.startswith(start)})

    def total(self, name):
        values = [line.split(":")[1] for line in self.lines() if line.startswith(name + ":")]
        return sum(float(value.split("|")[0]) for value in values)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.output.unlink()
        self.directory.rmdir()


if __name__ == "__main__":
    unittest.main()
