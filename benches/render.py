"""Pages: Prosody's own and metre's by registry:render(), and metre's encoder beside prometheus-client's, which is in Rust too."""

import os
import resource

from turns import medians, run_lua, run_natives

TITLE = "Pages"
ROUNDS = int(os.environ.get("ROUNDS", 5))
NATIVE_ROUNDS = int(os.environ.get("ROUNDS", 11))


def through_lua(report):
    # One case opens many files.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    times = medians(ROUNDS, {
        provider: lambda provider=provider: run_lua("5.4", "turn.lua", "render", provider) for provider in ("prosody", "metre")
    })
    rows = [[case, own, times["metre"][case], own / times["metre"][case]] for case, own in times["prosody"].items()]
    title = f"registry:render(), with metre's own metrics and the process's on metre's pages, Lua 5.4, medians of {ROUNDS}"
    report.table(title, ["ns a series", "Prosody's", "metre", "ratio"], rows)


def natives(report):
    found = run_natives("render", NATIVE_ROUNDS)
    for series, title in (("counter", "50,000 counters of 3 labels"), ("histogram", "5,000 histograms of 3 labels and 7 buckets")):
        times, sizes = found[f"ns a {series}"], found[f"bytes a {series}"]
        rows = [[who, time, sizes[who], time / sizes[who], time / times["metre"]] for who, time in times.items()]
        columns = ["a series", "ns", "bytes", "ns a byte", "times metre's"]
        report.table(f"{title}, without Lua, medians of {NATIVE_ROUNDS}", columns, rows)
    report.say(
        "Processor time in one process, into memory that is used again. metre's page is OpenMetrics 1.0 as registry:render() returns it, "
        "with a _created line for each series; prometheus-client writes none, so metre is measured without them, too: those pages hold "
        "the same samples, which is checked. Labels in a struct, two of them &'static str, are the faster of the two ways that "
        "prometheus-client recommends; in a list (Vec<(String, String)>) they needn't be known when the program is built, and a server "
        "that runs modules can't know them."
    )


def run(report):
    through_lua(report)
    natives(report)
