"""The exporter in a real Prosody: who scrapes it, and what happens to Prosody meanwhile."""

import asyncio
import contextlib
import gzip
import http.client
import http.server
import pathlib
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest
import urllib.request

from harness import (
    HOST, OPENMETRICS, Exporting, Prometheus, Prosody, chat, clients, is_alive, parse, wait_for,
)
from prometheus_client.parser import text_string_to_metric_families
from stopwatch import Stopwatch

CONNECTIONS = ("prosody_mod_c2s__connections", (("host", HOST), ("ip_family", "ipv4"), ("type", "c2s")))


def shown(page):
    """What stands on a page but for values."""
    return [re.sub(r" [^ ]+$", "", line) if line[:2] != "# " else line for line in page.splitlines()]


class Pages(unittest.TestCase):
    def test_daemonized_and_fresh(self):
        with Exporting() as prosody:
            prosody.add_users(3)
            prosody.serves(daemonize=True)

            async def use():
                async with clients(prosody, 3) as everyone:
                    await chat(everyone)
                    # The last collection may be a second old.
                    wait_for("the connections", lambda: prosody.samples().get(CONNECTIONS) == 3)
            asyncio.run(use())
            wait_for("their end", lambda: prosody.samples()[CONNECTIONS] == 0)
            # What a scrape counts is there from the first one on.
            prosody.scrape()
            ours, theirs = prosody.scrape(), prosody.page()
            self.assertEqual(shown(ours), shown(theirs))
            ours, theirs = parse(ours), parse(theirs)
            for name, value in ours.items():
                if name[0].startswith("prosody_mod_"):
                    self.assertEqual(value, theirs[name], name)
            self.assertLess(prosody.stop(), 5)
            self.assertEqual(prosody.complaints(), [])

    def test_every_format_has_the_same_values(self):
        with Exporting(modules=["metre_probe"]) as prosody:
            prosody.serves()
            prosody.scrape()
            openmetrics = {key: value for key, value in prosody.samples().items() if not key[0].endswith("_created")}
            for version, escaping in (("0.0.4", ""), ("1.0.0", "; escaping=allow-utf-8")):
                accept = f"text/plain; version={version}{escaping}"
                _, headers, body = prosody.get(headers={"Accept": accept, "Accept-Encoding": "gzip"})
                self.assertEqual(headers["Content-Type"], f"text/plain; version={version}; charset=utf-8{escaping}")
                self.assertEqual((headers["Content-Encoding"], headers["Vary"]), ("gzip", "Accept, Accept-Encoding"))
                page = gzip.decompress(body).decode()
                text = {
                    (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                    for family in text_string_to_metric_families(page) for sample in family.samples
                }
                # What grows from scrape to scrape is metre's own.
                def prosodys(samples):
                    return {key: value for key, value in samples.items() if "metre_probe__" in key[0]}
                self.assertEqual(prosodys(text), prosodys(openmetrics))
                self.assertGreater(len(prosodys(text)), 30)
                self.assertNotIn("_created", page)
                checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
                # It has opinions on names, too, which are Prosody's.
                self.assertNotIn("error while linting", checked.stderr)
                self.assertIn(checked.returncode, (0, 3))

    def test_a_module_of_the_same_name_wins(self):
        with Exporting(modules=["metre_process"]) as prosody:
            prosody.serves()
            samples = prosody.samples()
            self.assertEqual(samples[("process_cpu_seconds_total", ())], 12345)
            self.assertEqual(samples[("process_open_fds", ())], -1)
            status = pathlib.Path(f"/proc/{prosody.pid}/status").read_text()
            self.assertEqual(samples[("process_threads", ())], int(re.search(r"Threads:\s+(\d+)", status)[1]))
            self.assertLess(abs(samples[("process_resident_memory_bytes", ())] - prosody.memory()), 5e6)
            self.assertLess(abs(samples[("process_start_time_seconds", ())] - time.time()), 60)

    def test_own_metrics_can_be_switched_off(self):
        with Exporting(config="self_metrics = false; process_metrics = false") as prosody:
            prosody.serves()
            names = {name for name, _ in prosody.samples()}
            self.assertTrue(names)
            self.assertEqual([name for name in names if not name.startswith("prosody_")], [])

    def test_nothing_listens_unless_configured_nor_in_prosodyctl(self):
        with Prosody() as prosody:
            prosody.start()
            listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
            ours = {int(re.search(r":(\d+) ", line)[1]) for line in listening.splitlines() if f"pid={prosody.pid}," in line}
            self.assertEqual(ours, {prosody.c2s_port, prosody.http_port})
        with Exporting() as prosody:
            prosody.ctl("register", "somebody", HOST, "secret")
            self.assertNotIn("Serving metrics", prosody.log())


class RealPrometheus(unittest.TestCase):
    def scraped(self, target):
        with Prometheus(target) as prometheus:
            state = prometheus.target()
            self.assertEqual((state["health"], state["lastError"]), ("up", ""))
            self.assertEqual(prometheus.query("prosody_mod_metre_probe__counter_total"), 2)
            self.assertEqual(prometheus.query('prosody_mod_metre_probe__sizes_bytes_bucket{le="4096"}'), 1)
            self.assertGreater(prometheus.query("process_resident_memory_bytes"), 1e6)
            kinds = prometheus.ask("metadata")
            self.assertEqual(kinds["metre_render_seconds"][0]["type"], "histogram")
            return kinds

    def test_names_that_belong_to_it(self):
        with Exporting(modules=["metre_reserved"]) as prosody, WithoutAccept(prosody.exporter) as proxy:
            prosody.serves()
            page = prosody.get(headers={"Accept": "text/plain; version=0.0.4"})[2].decode()
            checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
            self.assertNotIn("error while linting", checked.stderr)
            self.assertIn(checked.returncode, (0, 3))
            for target in (f"http://{prosody.exporter}/metrics", f"http://127.0.0.1:{proxy.server_port}/metrics"):
                with Prometheus(target) as prometheus:
                    state = prometheus.target()
                    self.assertEqual((state["health"], state["lastError"]), ("up", ""))
                    for query, value in {
                        "up": 1,
                        "exported_up": 5,
                        "exported_scrape_samples_scraped": 6,
                        "exported_ALERTS_total": 7,
                        'reserved_summary_sum{exported_quantile="x"}': 8,
                        'reserved_histogram_sum{exported_quantile="x",exported_le="y",exported__name__="z"}': 9,
                        "reserved_times_seconds_sum": 0,
                        "reserved_times_seconds_count": 1,
                        'metre_clamped_samples_total{family="reserved_times_seconds"}': 1,
                        "reserved_steps_count": 1,
                        "metre_series_without_sum": 1,
                    }.items():
                        self.assertEqual(prometheus.query(query), value, query)
                    self.assertGreater(prometheus.query("scrape_samples_scraped"), 50)
            self.assertIn("Metric reserved_times_seconds: sample -4e-07 is negative and counts as 0", prosody.log())
            self.assertIn("Metric reserved_steps: sample -2 is negative, so the page no longer has its sum", prosody.log())

    def test_openmetrics(self):
        with Exporting(modules=["metre_probe"]) as prosody:
            prosody.serves()
            self.assertIn("metre_scrapes", self.scraped(f"http://{prosody.exporter}/metrics"))
            scrapes = ("metre_scrapes_total", (("code", "200"), ("format", "openmetrics-1.0.0")))
            self.assertGreater(prosody.samples()[scrapes], 0)

    def test_text(self):
        with Exporting(modules=["metre_probe"]) as prosody, WithoutAccept(prosody.exporter) as proxy:
            prosody.serves()
            self.assertIn("metre_scrapes_total", self.scraped(f"http://127.0.0.1:{proxy.server_port}/metrics"))
            scrapes = ("metre_scrapes_total", (("code", "200"), ("format", "text-0.0.4")))
            self.assertGreater(prosody.samples()[scrapes], 0)

    def test_a_short_timeout_while_prosody_hangs(self):
        # Longer than Prometheus waits: without its header no page would come in time.
        with Exporting("collect_timeout = 60;") as prosody:
            prosody.serves()
            with Prometheus(f"http://{prosody.exporter}/metrics", interval=5) as prometheus:
                self.assertEqual(prometheus.target()["health"], "up")
                late = 'metre_collections_total{result="late"}'
                ctl = threading.Thread(target=prosody.shell, args=["> require 'socket'.sleep(17)"])
                ctl.start()
                wait_for("scrapes of a Prosody that hangs", lambda: prometheus.query(late) >= 2)
                ctl.join()
                self.assertEqual(prometheus.query("min_over_time(up[10m])"), 1)
                self.assertLess(prometheus.query("max_over_time(scrape_duration_seconds[10m])"), 5)

    def test_several_share_collections(self):
        with Exporting("collect_min_interval = 3600;") as prosody, contextlib.ExitStack() as stack:
            prosody.serves()
            for _ in range(3):
                stack.enter_context(Prometheus(f"http://{prosody.exporter}/metrics")).target()
            counts = {labels[0][1]: value for (name, labels), value in prosody.samples().items() if name == "metre_collections_total"}
            self.assertEqual(counts.pop("run"), 1)
            self.assertGreaterEqual(counts.pop("shared"), 3)
            self.assertEqual(counts, {"late": 0, "failed": 0})
            self.assertEqual(prosody.samples()[("prosody_stats_collection_seconds_count", ())], 1)


class WithoutAccept(http.server.ThreadingHTTPServer):
    """Prometheus 2.42 can't be told to ask for the text format, so this forgets what it has asked for."""

    def __init__(self, target):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with urllib.request.urlopen(f"http://{target}{self.path}") as answer:
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                    self.end_headers()
                    self.wfile.write(answer.read())

            def log_message(self, *_):
                pass
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class StuckLoop(unittest.TestCase):
    def test_pages_come_and_show_it(self):
        with Exporting("collect_timeout = 0.2; collect_min_interval = 0;") as prosody:
            prosody.serves()
            prosody.scrape()
            blocked = ("metre_event_loop_blocked_seconds", ())
            with prosody.blocked():
                first = prosody.samples()
                second = prosody.samples()
                self.assertGreater(second[blocked], first[blocked])
                wait_for("the log line's time", lambda: prosody.samples()[blocked] > 3.5)
            wait_for("the answer", lambda: prosody.samples()[blocked] < 0.5)
            samples = prosody.samples()
            lag = {labels[0][1]: value for (name, labels), value in samples.items() if name == "metre_event_loop_lag_seconds_bucket"}
            self.assertGreater(lag["+Inf"], lag["1"])
            self.assertGreater(samples[("metre_collections_total", (("result", "late"),))], 0)
            wait_for("the collection", lambda: prosody.samples()[("metre_collections_total", (("result", "run"),))] > 1)
            told = prosody.complaints()
            self.assertEqual(len(told), 1, told)
            self.assertRegex(told[0], r"Prosody's event loop has not answered for \d+\.\d s")

    def test_it_is_asked_each_second(self):
        with Exporting() as prosody:
            prosody.serves()
            beats = ("metre_event_loop_lag_seconds_count", ())
            first, start, stopwatch = prosody.samples()[beats], time.monotonic(), Stopwatch(prosody.pid)
            wait_for("ten beats", lambda: prosody.samples("/metrics?name[]=metre_event_loop_lag_seconds")[beats] >= first + 10)
            self.assertLess(stopwatch.seconds(), 16)
            self.assertGreater(time.monotonic() - start, 8)

    def test_a_module_that_fails_costs_only_its_own(self):
        with Exporting() as prosody:
            prosody.serves()
            prosody.shell("""> local m = require "core.statsmanager"; local half = m.metric("gauge", "half", "", "", {}):with_labels();
                half:set(10); prosody.events.add_handler("stats-update", function ()
                m.cork(); half:set(3); error("this is broken") end)""".replace("\n", " "))
            prosody.shell("""> prosody.frozen = require "core.statsmanager".metric("gauge", "frozen", "", "", {}):with_labels()""")
            failed = ("metre_collections_total", (("result", "failed"),))
            start = time.monotonic()
            wait_for("failures", lambda: prosody.samples()[failed] > 20)
            took = time.monotonic() - start
            runs = [line for line in prosody.complaints() if "this is broken" in line]
            self.assertEqual(len(runs), 1)
            self.assertIn("A module failed while statistics were collected", runs[0])
            # It was not asked again and again.
            prosody.shell("> prosody.runs = 0; prosody.events.add_handler('stats-update', function () prosody.runs = prosody.runs + 1 end, 10)")
            before, start = prosody.samples()[failed], time.monotonic()
            wait_for("more failures", lambda: prosody.samples()[failed] > before + 50)
            took = time.monotonic() - start
            self.assertLess(int(re.search(r"Result: (\d+)", prosody.shell("> return prosody.runs"))[1]), took + 3)
            prosody.shell("> prosody.frozen:set(7)")
            self.assertEqual(prosody.samples()[("frozen", ())], 7, "the cork is off")
            self.assertEqual(prosody.samples()[("half", ())], 10, "what is half counted is not shown")
            self.assertTrue(is_alive(prosody.pid))

    def test_what_a_module_returns_makes_no_scrape_late(self):
        with Exporting("collect_min_interval = 0;") as prosody:
            prosody.serves()
            prosody.shell("> prosody.events.add_handler('openmetrics-updated', function () return true end)")
            for _ in range(3):
                prosody.scrape()
            before = time.time()
            samples = prosody.samples()
            self.assertEqual(samples[("metre_collections_total", (("result", "late"),))], 0)
            self.assertGreaterEqual(samples[("metre_collections_total", (("result", "run"),))], 3)
            self.assertGreaterEqual(samples[("metre_last_collection_timestamp_seconds", ())], before - 0.01)


class OtherLoops(unittest.TestCase):
    def test_select_and_libevent(self):
        for backend in ("select", "event"):
            with Exporting(options=f'network_backend = "{backend}"') as prosody:
                prosody.serves()
                self.assertEqual(prosody.samples()[("prosody_stats_collection_seconds_count", ())], 1)
                beats = ("metre_event_loop_lag_seconds_count", ())
                wait_for("beats", lambda: prosody.samples()[beats] > 1)
                prosody.stop()
                self.assertNotIn("method 'close'", prosody.log())
                self.assertEqual([line for line in prosody.complaints() if "metre" in line], [])


class Load(unittest.TestCase):
    def test_many_series(self):
        count = 200_000
        with Exporting(modules=["metre_many"], options=f"metre_many_series = {count}", interval=3600,
                       config=f"limits = {{ max_series_per_family = {count} }};") as prosody:
            prosody.serves()
            _, _, body = prosody.get(headers=dict(OPENMETRICS, **{"Accept-Encoding": "gzip"}))
            page = gzip.decompress(body).decode()
            series = re.findall(r'^prosody_mod_metre_many__many_total\{host="localhost",number="(\d+)",user="[^"]+"\} (\d+)$', page, re.M)
            self.assertEqual(len(series), count)
            self.assertTrue(all(number == value for number, value in series))
            with Prometheus(f"http://{prosody.exporter}/metrics", 5) as prometheus:
                wait_for("a scrape", lambda: prometheus.target()["health"] == "up")
                self.assertEqual(prometheus.query("count(prosody_mod_metre_many__many_total)"), count)

    def test_slow_clients_and_garbage(self):
        with Exporting() as prosody, contextlib.ExitStack() as stack:
            prosody.add_users(2)
            prosody.serves()
            descriptors = pathlib.Path(f"/proc/{prosody.pid}/fd")
            before = len(list(descriptors.iterdir()))
            for number in range(400):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", prosody.port)))
                client.send((b"", b"GET /metr", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000, b"\0\r\n" * 100)[number % 5])
            self.assertTrue(prosody.samples())
            wait_for("few descriptors", lambda: len(list(descriptors.iterdir())) <= before + 66)

            async def use():
                async with clients(prosody, 2) as everyone:
                    await chat(everyone)
            asyncio.run(use())
            self.assertLess(prosody.stop(), 5)
            self.assertEqual(prosody.complaints(), [])

    def test_ends_in_the_middle_of_scrapes(self):
        options = "metre_many_series = 50000"
        for _ in range(3):
            with Exporting(modules=["metre_many"], options=options) as prosody:
                prosody.serves()
                stop, whole, errors = threading.Event(), [], []

                def scrape():
                    while not stop.is_set():
                        try:
                            whole.append(prosody.scrape().endswith("# EOF\n"))
                        except (OSError, http.client.HTTPException) as why:
                            errors.append(why)
                            return
                scrapers = [threading.Thread(target=scrape) for _ in range(4)]
                for scraper in scrapers:
                    scraper.start()
                wait_for("scrapes", lambda: len(whole) > 8)
                self.assertLess(prosody.stop(), 5)
                stop.set()
                for scraper in scrapers:
                    scraper.join()
                self.assertEqual(prosody.process.returncode, 0)
                self.assertTrue(all(whole))
                self.assertEqual(prosody.complaints(), [])


class Access(unittest.TestCase):
    def test_addresses(self):
        with Exporting('allow = { "127.0.0.2", "10.0.0.0/8" };') as prosody:
            prosody.serves()
            self.assertEqual(prosody.get()[0], 403)
            self.assertEqual(prosody.get("/-/healthy")[0], 403)
            allowed = http.client.HTTPConnection("127.0.0.1", prosody.port, source_address=("127.0.0.2", 0))
            with contextlib.closing(allowed):
                allowed.request("GET", "/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
                page = allowed.getresponse().read().decode()
            self.assertIn('metre_scrapes_total{code="403",format="none"} 2', page)
            told = [line for line in prosody.complaints() if "Refused metrics to 127.0.0.1" in line]
            self.assertEqual(len(told), 1)

    def test_token_rotation(self):
        with Exporting('bearer_token_file = "/nowhere/token";') as prosody:
            prosody.serves()
            wait_for("a line", lambda: "'exporter.bearer_token_file' cannot be read: /nowhere/token: No such" in prosody.log())
            self.assertEqual(prosody.get()[0], 401)
        directory = pathlib.Path(prosody.directory)
        directory.mkdir()
        token = directory / "token"
        try:
            token.write_text("first\n")
            with Exporting(f'bearer_token_file = "{token}";') as prosody:
                prosody.serves()

                def status(*given):
                    return prosody.get(headers={"Authorization": value for value in given})[0]
                self.assertEqual([status(), status("Bearer second"), status("Bearer first")], [401, 401, 200])
                self.assertEqual(prosody.get()[1]["WWW-Authenticate"], "Bearer")
                replacement = directory / "new"
                replacement.write_text("second")
                replacement.rename(token)
                self.assertEqual([status("Bearer first"), status("Bearer second")], [401, 200])
                # Both hold, and what should be mended is told.
                token.write_bytes(b"second\r\n\r\nthird\r\n")
                self.assertEqual([status("Bearer first"), status("Bearer second"), status("Bearer third")], [401, 200, 200])
                wait_for("a line", lambda: f"should be mended: {token}: line 1 ends as lines do on Windows (CRLF)" in prosody.log())
                token.write_text("second # the new one\n")
                self.assertEqual(status("Bearer second"), 401)
                wait_for("a line", lambda: f"no token that can be used: {token}: line 1 has blanks inside" in prosody.log())
                self.assertNotIn("the new one", prosody.log())
                token.unlink()
                self.assertEqual(status("Bearer second"), 401)
                token.write_text("third")
                self.assertEqual([status("Bearer second"), status("Bearer third")], [401, 200])
                wait_for("lines", lambda: "There is a token for metrics again" in prosody.log())
        finally:
            for file in directory.iterdir():
                file.unlink()
            directory.rmdir()

    def test_unix_socket(self):
        with Exporting() as prosody:
            path = prosody.directory / "metrics.sock"
            config = prosody.config.read_text().replace(f'"{prosody.exporter}"', f'"unix:{path}"')
            prosody.config.write_text(config)
            for how in (signal.SIGKILL, signal.SIGTERM):
                prosody.log_file.unlink(missing_ok=True)
                prosody.serves()
                self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)
                page = subprocess.run(
                    ["curl", "-sS", "--unix-socket", path, "http://localhost/metrics"], capture_output=True, text=True
                ).stdout
                self.assertIn("metre_build_info", page)
                if how == signal.SIGTERM:
                    # Somebody tidies up.
                    path.unlink()
                    wait_for("another one", path.exists)
                    self.assertIn("has been removed; it is made again", prosody.log())
                prosody.stop(how)
                # One that was killed leaves it behind, and the next one takes its place.
                self.assertEqual(path.exists(), how == signal.SIGKILL)
            path.write_text("somebody's")
            prosody.start()
            wait_for("a line", lambda: "there is a file that is not a socket" in prosody.log())
            prosody.stop()
            self.assertEqual(path.read_text(), "somebody's")

    def test_address_taken_and_freed(self):
        with Exporting() as prosody, socket.socket() as other:
            other.bind(("127.0.0.1", prosody.port))
            other.listen()
            prosody.start(daemonize=True)
            wait_for("a line", lambda: f"Cannot serve metrics at {prosody.exporter}" in prosody.log())
            other.close()
            wait_for("the exporter", lambda: "Serving metrics at" in prosody.log())
            self.assertIn(("prosody_stats_collection_seconds_count", ()), prosody.samples())
            self.assertEqual(len(prosody.complaints()), 1)


if __name__ == "__main__":
    unittest.main()
