"""The statsd pusher against Prosody's own, side by side, and what it can hold.

Usage: statsd.py [ROUNDS [SECONDS]]: how often to measure each cost, and how long to run at full speed.
"""

import pathlib
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "spec/prosody"))

from statsd_servers import Listener  # noqa: E402

PROVIDERS = {"Prosody's": "util.statsd", "metre": "metre.statsd"}


def start(provider, port, work, amount):
    command = ["lua5.4", str(ROOT / "benches/statsd.lua"), provider, str(port), work, str(amount)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def datagrams_sent():
    """How many UDP datagrams this machine has sent."""
    names, values = [
        line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    ]
    return int(values[names.index("OutDatagrams")])


def compare(rounds):
    print("| on the calling thread, ns | Prosody's | metre | ratio |\n| --- | ---: | ---: | ---: |")
    for name, work, amounts in (
        ("counter add", "counter", {"Prosody's": 100_000, "metre": 5_000_000}),
        ("histogram sample, 7 buckets", "histogram", {"Prosody's": 10_000, "metre": 5_000_000}),
    ):
        times = {who: [] for who in PROVIDERS}
        with Listener() as listener:
            for _ in range(rounds):
                for who, provider in PROVIDERS.items():
                    process = start(provider, listener.port, work, amounts[who])
                    times[who].append(float(process.communicate()[0]))
        own, ours = (statistics.median(times[who]) for who in PROVIDERS)
        print(f"| {name} | {own:.0f} | {ours:.0f} | {own / ours:.0f} |")
    print("\n| datagrams for | Prosody's | metre |\n| --- | ---: | ---: |")
    for name, work, amount in (("10,000 adds", "counter", 10_000), ("1,000 samples", "histogram", 1_000)):
        counts = []
        with Listener() as listener:
            for provider in PROVIDERS.values():
                before = datagrams_sent()
                start(provider, listener.port, work, amount).communicate()
                counts.append(datagrams_sent() - before)
        print(f"| {name} | {counts[0]} | {counts[1]} |")


def full_speed(seconds):
    with Listener() as listener:
        process = start("metre.statsd", listener.port, "full", seconds)
        expected, updates = (int(number) for number in process.communicate()[0].split())
    counted = sum(total for name, total in listener.counters.items() if name.startswith("prosody.full."))
    sampled = sum(total for name, total in listener.counters.items() if name.endswith(".count"))
    print(f"\nFull speed for {seconds} s, 600 series: {updates / seconds:,.0f} updates a second in {listener.datagrams:,} datagrams;")
    print(f"of {expected:,} counts {counted:,.0f} arrived, of {expected:,} samples {sampled:,.0f}.")


def away():
    seconds, memory = 20, []
    listener = Listener()
    process = start("metre.statsd", listener.port, "million", seconds)
    reader = threading.Thread(target=lambda: memory.extend(int(line) for line in process.stdout))
    reader.start()
    time.sleep(5)
    listener.close()
    counted = listener.counters["prosody.bench_counter.example_org.c2s"]
    time.sleep(10)
    listener = Listener(listener.port)
    process.wait()
    reader.join()
    listener.close()
    counted += listener.counters["prosody.bench_counter.example_org.c2s"]
    print(f"\nServer away from second 5 to 15 of {seconds}: of 1,000,000 adds {counted:,.0f} arrived.")
    print(f"Resident kB with it {memory[3]:,}, while it is away {max(memory[5:14]):,} at most, after that {memory[-1]:,}.")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    compare(rounds)
    full_speed(seconds)
    away()


main()
