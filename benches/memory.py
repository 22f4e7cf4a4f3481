"""What a series takes of memory.

Private memory (benches/lua/private.lua) with that many series in one family, less that of the empty family, both after full garbage
collections; a process each. Labels are host and user, "example.org" and "user123".
"""

import os

from turns import medians, run_lua

TITLE = "Memory"
ROUNDS = int(os.environ.get("ROUNDS", 5))
# As many that the tables of both, whose sizes are powers of two, are about three quarters full.
CASES = {
    "counter": ("counter", 200_000),
    "counter whose handle is held": ("counter", 200_000, "held"),
    "histogram, 7 buckets": ("histogram", 50_000),
}
PROVIDERS = ("prosody", "metre")


def run(report):
    found = medians(ROUNDS, {
        (provider, case): lambda provider=provider, arguments=arguments: run_lua("5.4", "memory.lua", provider, *arguments)
        for case, arguments in CASES.items()
        for provider in PROVIDERS
    })
    rows = []
    for case, arguments in CASES.items():
        own, ours = (found[provider, case] for provider in PROVIDERS)
        rows.append([case, own["private"], ours["private"], own["private"] / ours["private"], own["lua"], ours["lua"]])
    report.table(
        f"Private bytes a series of 2 labels, medians of {ROUNDS}",
        ["bytes", "Prosody's", "metre", "ratio", "Prosody's, in Lua", "metre, in Lua"],
        rows,
    )
    report.say("Prosody's handle is the series itself. A series of metre's that nobody holds has nothing in Lua.")
