"""Memory of a real Prosody after many distinct label sets, with metre and its limit, and with Prosody's own provider.

SETS=5000000 LIMIT=100000 are the defaults. Prosody's own takes some 6 GB for that.
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "spec" / "prosody"))

from harness import Prosody  # noqa: E402

SETS = int(os.environ.get("SETS", 5_000_000))
LIMIT = int(os.environ.get("LIMIT", 100_000))


def measure(sets, statistics, config=""):
    """Resident bytes once a module has made that many label sets, and the seconds until Prosody serves."""
    options = f"statistics_interval = 86400 metre_many_series = {sets} statistics_config = {{ {config} }}"
    with Prosody(statistics, options, modules=["metre_many"]) as prosody:
        start = time.monotonic()
        prosody.start(deadline=600)
        return prosody.memory(), time.monotonic() - start


def main():
    limit = f"limits = {{ max_series_per_family = {LIMIT} }}"
    print(f"Resident memory of Prosody after {SETS:,} distinct label sets\n")
    print("| | MB | more than without, MB | until it serves, s |")
    print("| --- | ---: | ---: | ---: |")
    for name, *provider in (
        (f"metre, limit of {LIMIT:,}", ":metre", limit),
        ("metre, no limit", ":metre", "limits = { max_series_per_family = 100000000, max_series = 100000000 }"),
        ("Prosody's own", "internal"),
    ):
        (before, _), (after, seconds) = measure(0, *provider), measure(SETS, *provider)
        print(f"| {name} | {after / 1e6:.0f} | {(after - before) / 1e6:.0f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
