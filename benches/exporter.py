"""What scrapes cost those who chat: metre's exporter and Prosody's own page, side by side, with the same series.

ROUNDS=2 SECONDS=5 IDLE=30 SERIES=200000 are the defaults.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import time

from cpu import process_clock
from harness import HOST, OPENMETRICS, Exporting, Prosody, clients, parse, wait_for

TITLE = "The exporter"
ROUNDS = int(os.environ.get("ROUNDS", 2))
SECONDS = float(os.environ.get("SECONDS", 5))
IDLE = float(os.environ.get("IDLE", 30))
SERIES = int(os.environ.get("SERIES", 200_000))


class Scraper:
    """Scrapes flat out while it is there: the next page as soon as the last one has come."""

    def __init__(self, url, gzip):
        fetch = f"curl -s -m 300 -o /dev/null {'--compressed' if gzip else ''} {url}"
        # The page under way is waited for: it counts, and its making would disturb whatever is measured next.
        self.command = f"trap end=1 TERM; while [ -z $end ] && {fetch}; do echo; done"

    def __enter__(self):
        self.start = time.monotonic()
        self.process = subprocess.Popen(["sh", "-c", self.command], stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        pages = len(self.process.communicate()[0])
        self.pages_a_second = pages / (time.monotonic() - self.start)


async def round_trips(prosody, scraper):
    """How long a server took to answer each ping, in seconds."""
    times = []
    # Logging in takes several round trips, and each may take longer than a client waits.
    async with clients(prosody, 1) as (client,):
        with scraper:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                start = time.monotonic()
                await client["xep_0199"].ping(HOST, timeout=60)
                times.append(time.monotonic() - start)
                await asyncio.sleep(0.005)
    return times


def measure(prosody, url=None, gzip=False):
    """Round trips while somebody scrapes, and how many pages there were in a second."""
    scraper = Scraper(url, gzip) if url else contextlib.nullcontext()
    times = asyncio.run(round_trips(prosody, scraper))
    return times, scraper.pages_a_second if url else 0


def show_round_trips(report, results):
    rows = []
    for name, rounds in results.items():
        times = sorted(1000 * one for times, _ in rounds for one in times)
        slowest = [1000 * max(times) for times, _ in rounds]
        pages = statistics.mean(pages for _, pages in rounds)
        rows.append([name, times[len(times) // 2], times[len(times) * 99 // 100], statistics.median(slowest), max(slowest), pages])
    report.table(
        f"XMPP round trips (ping) while {SERIES:,} series are scraped flat out, {ROUNDS} rounds of {SECONDS:g} s",
        ["ms", "median", "99 %", "slowest (median of rounds)", "slowest", "pages a second"], rows,
    )


def show_render_times(report, prosody):
    """By what the exporter itself measures."""
    def spent():
        return prosody.samples("/metrics?name[]=metre_render_seconds")[("metre_render_seconds_sum", ())]

    rows = []
    for name, headers in {
        "text": {}, "text, gzip": {"Accept-Encoding": "gzip"},
        "OpenMetrics": OPENMETRICS, "OpenMetrics, gzip": {"Accept-Encoding": "gzip", **OPENMETRICS},
    }.items():
        costs = []
        for _ in range(2 * ROUNDS + 1):
            before = spent()
            _, _, body = prosody.get(headers=headers)
            costs.append((spent() - before) / SERIES * 1e9)
        rows.append([name, statistics.median(costs), len(body) / SERIES])
    report.table(f"A page of {SERIES:,} counter series of 3 labels", ["a series", "ns", "bytes"], rows)


def show_blocked(report):
    rows = []
    for interval in ('"manual"', "3600"):
        with Exporting(interval=interval) as prosody:
            prosody.serves()
            with prosody.blocked():
                start = time.monotonic()
                prosody.scrape()
                rows.append([interval, 1000 * (time.monotonic() - start)])
    report.table("A scrape while Prosody's thread stands still", ["statistics_interval", "ms"], rows)


def show_idle(report):
    with Exporting() as ours, Prosody(options='statistics_interval = "manual"') as theirs:
        ours.serves()
        theirs.start()
        wait_for("the scrape", ours.scrape)
        clocks = {"with the exporter": process_clock(ours.pid), "without": process_clock(theirs.pid)}
        before = {name: clock() for name, clock in clocks.items()}
        time.sleep(IDLE)
        spent = {name: clock() - before[name] for name, clock in clocks.items()}
    rows = [[name, 1000 * seconds, 100 * seconds / IDLE] for name, seconds in spent.items()]
    report.table(f"CPU of an idle Prosody on metre in {IDLE:g} s", ["", "ms", "% of a processor"], rows)


def run(report):
    options = f"metre_many_series = {SERIES}"
    limits = f"limits = {{ max_series_per_family = {SERIES} }};"
    ours = Exporting(interval=3600, modules=["metre_many"], options=options, config=limits)
    theirs = Prosody("internal", f"statistics_interval = 3600 {options}", modules=["metre_many"])
    results = {}
    with ours, theirs:
        for prosody in (ours, theirs):
            prosody.add_users(1)
        ours.serves()
        theirs.start()
        own_page = f"http://{ours.exporter}/metrics"
        for _ in range(ROUNDS):
            for name, arguments in {
                "metre, nobody scrapes": (ours,),
                "metre": (ours, own_page),
                "metre, gzip": (ours, own_page, True),
                "Prosody's own, nobody scrapes": (theirs,),
                "Prosody's own": (theirs, theirs.url),
            }.items():
                results.setdefault(name, []).append(measure(*arguments))
        show_round_trips(report, results)
        show_render_times(report, ours)
    show_blocked(report)
    show_idle(report)
