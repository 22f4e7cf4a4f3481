"""A real Prosody under load while faults hit it, for MINUTES. All is counted, and nothing may be missing at the end.

SEED=… repeats an order of faults; it is printed.
"""

import contextlib
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "prosody"))

from harness import Prometheus  # noqa: E402
from run import Run  # noqa: E402
from servers import Tcp, Udp  # noqa: E402
from victim import Victim  # noqa: E402


def show(run):
    mib = 2**20
    print(f"\n{run.victim.name}")
    rows = [
        ("updates counted", f"{run.report['updates']:,}"),
        ("stanzas", f"{run.report['stanzas']:,} in {run.load.logins:,} sessions ({run.load.refused} log-ins refused by faults)"),
        ("faults", sum(run.begun.values())),
        *((f"  {name}", count) for name, count in sorted(run.begun.items())),
        ("what metre noticed", ""),
        *((f"  {what}", f"{count:g}") for what, count in run.noticed.items()),
        ("statsd servers started", run.victim.server.starts),
        ("statsd lines received", f"{run.victim.server.account.lines:,}"),
        ("honest scrapes", f"{run.honest.scrapes:,}, the slowest {run.honest.slowest:.2f} s; {run.honest.missed} while there were no descriptors"),
        *([("Prometheus's scrapes", "{:.0f} of {:.0f} with a page".format(*run.scraped))] if run.prometheus else []),
        ("recovered after", f"{run.recovery:.1f} s"),
        ("numbers compared", f"{run.page.compared} on the page, {run.statsd.compared} over statsd"),
        ("lost", f"{run.page.lost} on the page, {run.statsd.lost} over statsd"),
        ("counted twice", f"{run.page.twice} on the page, {run.statsd.twice} over statsd"),
        ("resident memory", f"{run.memory_start[0] / mib:.1f} MiB after warming up, {run.memory_end[0] / mib:.1f} MiB at the end"),
        ("Lua's heap", f"{run.memory_start[1] / mib:.1f} MiB after warming up, {run.memory_end[1] / mib:.1f} MiB at the end"),
        ("descriptors", f"{run.start['descriptors']} at the start, {run.end['descriptors']} at the end"),
        ("threads", f"{run.start['threads']} at the start, {run.end['threads']} at the end"),
        ("stopped within", f"{run.stopped:.2f} s"),
    ]
    for name, value in rows:
        print(f"  {name:<55} {value}")


def main():
    minutes = float(os.environ.get("MINUTES", 10))
    seed = os.environ.get("SEED") or str(random.randrange(10**6))
    print(f"Soak of {minutes:g} minutes, SEED={seed}", flush=True)
    start = time.monotonic()
    # So that everything is put away after SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="metre-soak-") as directory, contextlib.ExitStack() as stack:
        servers = []
        for kind in (Udp, Tcp):
            (pathlib.Path(directory) / kind.scheme).mkdir()
            servers.append(stack.enter_context(kind(pathlib.Path(directory) / kind.scheme)))
        victims = [
            Victim("Collecting when scraped, pushing over UDP", servers[0], "none", '"manual"', token=False),
            Victim("Collecting each second, pushing over TCP", servers[1], "dogstatsd", "1", token=True),
        ]
        runs = [Run(stack.enter_context(victim), seed, minutes * 60) for victim in victims]
        runs[0].prometheus = stack.enter_context(Prometheus(f"http://{victims[0].exporter}/metrics"))
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        wrong = [f"{run.victim.name}: {fault}" for run in runs for fault in run.wrong]
        for run in runs:
            with contextlib.suppress(AttributeError):
                show(run)
    print(f"\n{time.monotonic() - start:.0f} s in all; {len(wrong)} faults found")
    for fault in wrong:
        print(f"  {fault}")
    return 1 if wrong else 0


sys.exit(main())
