"""What scrapes cost those who chat: metre's exporter and Prosody's own page, side by side, with the same series.

ROUNDS=3 SECONDS=8 IDLE=60 SERIES=200000 are the defaults.
"""

import asyncio
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "spec/prosody"))
from harness import HOST, Exporting, Prosody, clients, parse, wait_for  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", 3))
SECONDS = float(os.environ.get("SECONDS", 8))
IDLE = float(os.environ.get("IDLE", 60))
SERIES = int(os.environ.get("SERIES", 200_000))


class Scraper:
    """Scrapes flat out while it is there: the next page as soon as the last one has come."""

    def __init__(self, url, gzip):
        self.command = f"while curl -s -o /dev/null {'--compressed' if gzip else ''} {url}; do echo; done"

    def __enter__(self):
        self.process = subprocess.Popen(["sh", "-c", self.command], stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.count = len(self.process.communicate()[0])


async def round_trips(prosody, seconds, scraper):
    """How long a server took to answer each ping, in seconds."""
    times = []
    # Logging in takes several round trips, and each may take longer than a client waits.
    async with clients(prosody, 1) as (client,):
        with scraper:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                start = time.monotonic()
                await client["xep_0199"].ping(HOST, timeout=60)
                times.append(time.monotonic() - start)
                await asyncio.sleep(0.005)
    return times


def measure(prosody, url=None, gzip=False):
    """Round trips while somebody scrapes, and how many pages there were."""
    scraper = Scraper(url, gzip) if url else contextlib.nullcontext()
    times = asyncio.run(round_trips(prosody, SECONDS, scraper))
    return times, scraper.count if url else 0


def show_round_trips(results):
    print(f"XMPP round trips (ping) while {SERIES:,} series are scraped flat out, {ROUNDS} rounds of {SECONDS:g} s\n")
    print("| ms | median | 99 % | slowest (median of rounds) | slowest | pages a second |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, rounds in results.items():
        times = sorted(1000 * one for times, _ in rounds for one in times)
        slowest = [1000 * max(times) for times, _ in rounds]
        pages = sum(count for _, count in rounds) / len(rounds) / SECONDS
        median, high = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"| {name} | {median:.1f} | {high:.1f} | {statistics.median(slowest):.1f} | {max(slowest):.1f} | {pages:.1f} |")
    print()


def render_times(prosody):
    """Nanoseconds a series, by what the exporter itself measures."""
    def spent():
        samples = parse(subprocess.run(
            ["curl", "-s", "-H", "Accept: application/openmetrics-text", f"http://{prosody.exporter}/metrics?name[]=metre_render_seconds"],
            capture_output=True, text=True, check=True,
        ).stdout)
        return samples[("metre_render_seconds_sum", ())]
    costs = {}
    for name, arguments in {
        "text": [], "text, gzip": ["--compressed"],
        "OpenMetrics": ["-H", "Accept: application/openmetrics-text"],
        "OpenMetrics, gzip": ["--compressed", "-H", "Accept: application/openmetrics-text"],
    }.items():
        all_costs = []
        for _ in range(2 * ROUNDS + 1):
            before = spent()
            size = subprocess.run(
                ["curl", "-s", "-o", "/dev/null", "-w", "%{size_download}", *arguments, f"http://{prosody.exporter}/metrics"],
                capture_output=True, text=True, check=True,
            ).stdout
            all_costs.append((spent() - before) / SERIES * 1e9)
        costs[name] = statistics.median(all_costs), int(size) / SERIES
    print(f"A page of {SERIES:,} counter series of 3 labels\n")
    print("| | ns a series | bytes a series |")
    print("| --- | ---: | ---: |")
    for name, (cost, size) in costs.items():
        print(f"| {name} | {cost:.0f} | {size:.1f} |")
    print()


def blocked_latency():
    print("A scrape while Prosody's thread stands still\n")
    print("| statistics_interval | ms |")
    print("| --- | ---: |")
    for interval in ('"manual"', "3600"):
        with Exporting(interval=interval) as prosody:
            prosody.serves()
            ctl = prosody.block(6)
            start = time.monotonic()
            prosody.scrape()
            print(f"| {interval} | {1000 * (time.monotonic() - start):.0f} |")
            ctl.join()
    print()


def cpu_seconds(pid):
    """Of all threads."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def idle_cost():
    with Exporting() as ours, Prosody(options='statistics_interval = "manual"') as theirs:
        ours.serves()
        theirs.start()
        wait_for("the scrape", ours.scrape)
        before = cpu_seconds(ours.pid), cpu_seconds(theirs.pid)
        time.sleep(IDLE)
        with_exporter, without = cpu_seconds(ours.pid) - before[0], cpu_seconds(theirs.pid) - before[1]
        print(f"CPU of an idle Prosody in {IDLE:g} s: {1000 * with_exporter:.1f} ms with the exporter on, "
              f"{1000 * without:.1f} ms without")


def main():
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
        show_round_trips(results)
        render_times(ours)
    blocked_latency()
    idle_cost()


main()
