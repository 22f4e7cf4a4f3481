"""The statsd pusher beside Prosody's own, and its lines beside cadence's; what it can hold, and what it does while the server is away."""

import os
import pathlib
import statistics
import subprocess

from report import ROOT
from statsd_servers import Listener
from turns import LUAS, NAMES, environment, run_natives

TITLE = "statsd"
ROUNDS = int(os.environ.get("ROUNDS", 7))
NATIVE_ROUNDS = int(os.environ.get("ROUNDS", 20))
SECONDS = int(os.environ.get("SECONDS", 20))

PROVIDERS = {"Prosody's": "util.statsd", "metre": "metre.statsd"}

# When the server goes and comes back, and how long that process runs, in seconds.
GOES, RETURNS, ENDS = 5, 15, 20


def start(provider, port, work, amount, longest=300, version="5.4"):
    """A process of statsd.lua, which is ended if it takes longer than that many seconds."""
    script = str(ROOT / "benches/lua/statsd.lua")
    command = ["timeout", str(longest), LUAS[version], script, PROVIDERS[provider], str(port), work, str(amount)]
    return subprocess.Popen(command, env=environment(version), stdout=subprocess.PIPE, text=True)


def output(process):
    """All that it prints, once it has ended well."""
    text = process.communicate()[0]
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return text


def datagrams_sent():
    """How many UDP datagrams this machine has sent."""
    names, values = [
        line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    ]
    return int(values[names.index("OutDatagrams")])


def calls(report, version, rounds):
    rows = []
    for name, work, amounts in (
        ("counter add", "counter", {"Prosody's": 100_000, "metre": 5_000_000}),
        ("histogram sample, 7 buckets", "histogram", {"Prosody's": 10_000, "metre": 5_000_000}),
    ):
        times = {who: [] for who in PROVIDERS}
        with Listener() as listener:
            for _ in range(rounds):
                for who, amount in amounts.items():
                    times[who].append(float(output(start(who, listener.port, work, amount, version=version))))
        own, ours = (statistics.median(times[who]) for who in PROVIDERS)
        rows.append([name, own, ours, own / ours])
    title = f"On the calling thread, {NAMES[version]}, medians of {rounds}"
    report.table(title, ["ns", "Prosody's", "metre", "ratio"], rows)


def datagrams(report):
    rows = []
    for name, work, amount in (("10,000 adds", "counter", 10_000), ("1,000 samples", "histogram", 1_000)):
        counts = []
        with Listener() as listener:
            for who in PROVIDERS:
                before = datagrams_sent()
                output(start(who, listener.port, work, amount))
                counts.append(datagrams_sent() - before)
        rows.append([name, *counts])
    report.table("Datagrams", ["for", *PROVIDERS], rows)


def natives(report):
    found = run_natives("statsd", NATIVE_ROUNDS)
    rows, calling = [], []
    for style, title in (("names", "labels in the name"), ("tags", "labels in tags")):
        memory, udp = found[f"ns a line with {style}, in memory"], found[f"ns a line with {style}, over UDP"]
        update = memory["metre, the update alone"]
        default = udp["cadence, its default size"]
        for way, cadence, metre in (
            ("encoded into memory", memory["cadence"], memory["metre"]),
            ("sent to a socket, each with its default size of datagrams", default, udp["metre"]),
            ("so, with all that metre's link does", default, udp["metre, by its link"]),
            ("sent to a socket, both with 1,432 bytes", udp["cadence"], udp["metre"]),
            ("so, with all that metre's link does", udp["cadence"], udp["metre, by its link"]),
        ):
            rows.append([f"{title}, {way}", 1e9 / cadence, 1e9 / (update + metre), cadence / (update + metre)])
        calling.append([title, udp["cadence"], update, udp["cadence"] / update])
    columns = ["lines a second", "cadence", "metre", "ratio"]
    report.table(f"Beside cadence, without Lua: 50,000 counters, each updated once, medians of {NATIVE_ROUNDS}", columns, rows)
    report.table("What the thread that counts has to do", ["ns an update", "cadence", "metre", "ratio"], calling)
    report.say(
        "Processor time in one process; the lines are the same, which is checked. Datagrams have 1,432 bytes at most, metre's default, "
        "unless it says otherwise; cadence's default are 512. What differs: "
        "cadence writes a line at each call, from a name that is ready or from the tags' values. metre updates a record, and at each "
        "push finds out what has changed and puts name or tags together from the labels; both count here. That is the worst case for "
        "it, since however often a series is updated there is one line a push. The sockets are alike but for metre's being connected. "
        "metre's link also keeps what may have to be sent again and looks for an error after each datagram; and it never sends more "
        "than 4,000 datagrams a second (some 150,000 lines), as UDP has no flow control. The time it waits for that is not counted."
    )


def full_speed(report):
    with Listener() as listener:
        process = start("metre", listener.port, "full", SECONDS, SECONDS + 60)
        expected, updates = (int(number) for number in output(process).split())
    counted = sum(total for name, total in listener.counters.items() if name.startswith("prosody.full."))
    sampled = sum(total for name, total in listener.counters.items() if name.endswith(".count"))
    report.table(f"At full speed for {SECONDS} s, 600 series", ["", "number"], [
        ["updates a second", updates / SECONDS],
        ["datagrams", listener.datagrams],
        ["counts", expected],
        ["counts that arrived", int(counted)],
        ["samples", expected],
        ["samples that arrived", int(sampled)],
    ])


def away(report):
    memory, counted = [], 0
    listener = Listener()
    process = start("metre", listener.port, "million", ENDS, ENDS + 60)
    name = "prosody.bench_counter.example_org.c2s"
    # It tells its memory once a second.
    for line in process.stdout:
        memory.append(int(line))
        if len(memory) == GOES:
            listener.close()
            counted += listener.counters[name]
        elif len(memory) == RETURNS:
            listener = Listener(listener.port)
    output(process)
    listener.close()
    counted += listener.counters[name]
    report.table(f"The server is away from second {GOES} to {RETURNS} of {ENDS}", ["", "number"], [
        ["adds", 1_000_000],
        ["of which arrived", int(counted)],
        ["private kB before", memory[GOES - 2]],
        ["at most while it is away", max(memory[GOES:RETURNS])],
        ["at the end", memory[-1]],
    ])


def run(report):
    for version in NAMES:
        calls(report, version, ROUNDS if version == "5.4" else min(ROUNDS, 3))
    datagrams(report)
    natives(report)
    full_speed(report)
    away(report)
