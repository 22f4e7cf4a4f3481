"""Faults in metre itself, in a real Prosody: each native function and each thread is made to panic, by a module that was built for that."""

import asyncio
import contextlib
import http.client
import os
import re
import unittest
from unittest import mock

from harness import OPENMETRICS, ROOMS, ROOT, Exporting, chat, clients, wait_for
from statsd_servers import Listener

FAULT = re.compile(r"\terror\t(.*)")
COUNT = "metre_internal_errors_total"
ROOM_HITS = ("prosody_mod_muc__room_hit_total", (("host", ROOMS),))


def with_panics(config="", modules=(), options=""):
    """A Prosody with the module that can be made to panic."""
    directory = os.environ["METRE_PANICS"]
    environment = {"METRE_MODULES": directory, "METRE_PANIC_CASES": str(ROOT / "spec/support/panics.lua")}
    with mock.patch.dict(os.environ, environment):
        return Exporting(modules=["metre_panics", *modules], config=config, options=options)


def faults(prosody):
    """What is logged of faults: how often, by place."""
    counts = {}
    for line in FAULT.findall(prosody.log()):
        place = re.fullmatch(r"Please report: internal error in (.*): made for a test \(.*\); not logged again", line)
        if not place:
            raise AssertionError(f"another error: {line}")
        counts[place[1]] = counts.get(place[1], 0) + 1
    return counts


@contextlib.contextmanager
def panicking(prosody, place):
    """Meanwhile that place panics."""
    prosody.shell(f"> require 'metre.native'.panic_at('{place}')")
    try:
        yield
    finally:
        prosody.shell("> require 'metre.native'.panic_at(nil)")


class Panics(unittest.TestCase):
    def use(self, prosody):
        """Clients are served, and scrapers get their page."""
        async def talk():
            async with clients(prosody, 2) as everyone:
                await chat(everyone)
        asyncio.run(talk())
        self.assertGreater(prosody.samples()[ROOM_HITS], 0)

    def test_every_native_function(self):
        # A fault that is logged is counted by what metre hooks into the log, which would panic, too.
        with with_panics("operator = false;") as prosody:
            prosody.add_users(2)
            prosody.serves()
            wait_for("all to have panicked", lambda: "all have panicked" in prosody.log())
            results = re.findall(r"panicked: (\S+), counted (\d+), raised (.*)", prosody.log())
            self.assertGreater(len(results), 35)
            for place, counted, raised in results:
                with self.subTest(place):
                    self.assertEqual((counted, raised), ("2", "nil"))
            self.use(prosody)
            # Once each, however often; some functions give what went wrong to whoever has called them.
            logged = faults(prosody)
            self.assertEqual(set(logged.values()), {1})
            self.assertEqual(logged.pop("the listener"), 1)
            told = {"new", "check", "explain", "flush", "start", "skip", "is_running", "watched", "answer", "collected", "discard", "fault"}
            self.assertEqual({place for place, _, _ in results} - set(logged), told)
            self.assertLess(prosody.stop(), 3)
            self.assertEqual(prosody.process.returncode, 0)

    def test_every_thread(self):
        server = Listener()
        self.addCleanup(server.close)
        statsd = f'statsd = {{ server = "127.0.0.1:{server.port}"; flush_interval = 0.1 }};'
        with with_panics(statsd) as prosody:
            prosody.add_users(2)
            prosody.serves()
            wait_for("all to have panicked", lambda: "all have panicked" in prosody.log())
            before = faults(prosody)
            answer, renderer, pusher, samples = "an answer to a scrape", "the renderer", "a statsd push", "the statsd pusher's samples"
            with panicking(prosody, answer):
                for _ in range(3):
                    with self.assertRaises(OSError):
                        prosody.scrape()
            with panicking(prosody, renderer):
                self.assertEqual({prosody.get()[0] for _ in range(3)}, {500})
            with panicking(prosody, pusher):
                wait_for("the fault", lambda: pusher in faults(prosody))
                wait_for("another one", lambda: prosody.samples().get((COUNT, (("at", pusher),)), 0) > 1)
            with panicking(prosody, samples.replace("'", "\\'")):
                wait_for("the fault", lambda: samples in faults(prosody))
            after = faults(prosody)
            self.assertEqual({place: after[place] for place in after if place not in before},
                             {answer: 1, renderer: 1, pusher: 1, samples: 1})
            counts = prosody.samples()
            for place in (answer, renderer):
                self.assertEqual(counts[COUNT, (("at", place),)], 3)
            # All go on where they were.
            self.use(prosody)
            total = prosody.samples()[ROOM_HITS]
            wait_for("the total to be pushed", lambda: total in [count for name, count in server.counters.items() if "room_hit" in name])
            self.assertLess(prosody.stop(), 3)
            self.assertEqual(prosody.process.returncode, 0)

    def test_a_page_that_has_begun(self):
        # Compressed, that is more than 1 MiB, too.
        options, limits = "metre_many_series = 100000", "limits = { max_series = 200000; max_series_per_family = 100000 };"
        with with_panics(limits, ["metre_many"], options) as prosody:
            prosody.serves()
            wait_for("all to have panicked", lambda: "all have panicked" in prosody.log())
            before = faults(prosody)
            with panicking(prosody, "a page that has begun"):
                for encoding in ("identity", "gzip", "identity"):
                    # Nobody takes what there is of it for a page.
                    with self.assertRaises(http.client.IncompleteRead):
                        prosody.get(headers={**OPENMETRICS, "Accept-Encoding": encoding})
                self.assertEqual(prosody.get("/metrics?name[]=metre_series")[0], 200)
            self.assertEqual(prosody.samples()[COUNT, (("at", "the renderer"),)], 3)
            after = faults(prosody)
            self.assertEqual({place: after[place] for place in after if place not in before}, {"the renderer": 1})
            self.assertLess(prosody.stop(), 3)


if __name__ == "__main__":
    unittest.main()
