"""Checks OpenMetrics pages with python3-prometheus-client's strict parser, and the order of what stands on them.

The file named on the command line holds pages, each after its length in bytes on a line. Prints a line a page: ok, or
what is wrong. With --parser-only before the file, nothing but the parser judges.
"""

import re
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

SUFFIXES = {
    "counter": ["_total", "_created"],
    "gauge": [""],
    "histogram": ["_bucket", "_count", "_sum", "_created"],
    "summary": ["", "_count", "_sum", "_created"],
}


def check(raw, parser_only):
    page = raw.decode("utf-8")
    list(text_string_to_metric_families(page))
    if parser_only:
        return
    if not page.endswith("# EOF\n"):
        raise ValueError("no # EOF at the end")
    if "\n\n" in page or page.count("\n# EOF\n") > 1:
        raise ValueError("a blank line, or the end in the middle")
    seen_families, seen_series = set(), set()
    family = type_ = None
    expected = ["TYPE", "UNIT", "HELP"]
    last = None
    for line in page.removesuffix("# EOF\n").removesuffix("\n").split("\n"):
        if not line:
            continue
        metadata = re.match(r"# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$", line, re.S)
        if line.startswith("#"):
            if not metadata:
                raise ValueError(f"bad metadata: {line!r}")
            keyword, name, value = metadata.groups()
            if keyword == "TYPE":
                if name in seen_families:
                    raise ValueError(f"family twice: {name}")
                seen_families.add(name)
                family, type_, last = name, value, None
                expected = ["UNIT", "HELP"]
            else:
                if name != family or keyword not in expected or last:
                    raise ValueError(f"metadata out of place: {line!r}")
                expected = expected[expected.index(keyword) + 1:]
            continue
        sample = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$", line, re.S)
        if not sample or not family:
            raise ValueError(f"bad line: {line!r}")
        name, labels, value = sample.groups()
        series = (name, labels)
        if series in seen_series:
            raise ValueError(f"series twice: {series}")
        seen_series.add(series)
        suffix = name.removeprefix(family)
        if not name.startswith(family) or suffix not in SUFFIXES[type_]:
            raise ValueError(f"{name} in family {family}")
        # The samples of one metric stand together in this order; a new metric begins again.
        metric = re.sub(r',?(le|quantile)="[^"]*"\}$', "}", labels or "").replace("{}", "")
        order = SUFFIXES[type_].index(suffix)
        if last and last[0] == metric and order < last[1]:
            raise ValueError(f"{line!r} out of order")
        last = (metric, order)
        if value == "-nan" or not re.match(r"(NaN|[+-]Inf|[+-]?[0-9.]+(e[+-][0-9]+)?)$", value):
            raise ValueError(f"bad number: {line!r}")


def main():
    parser_only = sys.argv[1] == "--parser-only"
    with open(sys.argv[-1], "rb") as file:
        while size := file.readline():
            try:
                check(file.read(int(size)), parser_only)
                print("ok")
            except Exception as problem:  # pylint: disable=broad-except
                text = f"{type(problem).__name__}: {problem}"
                print(text.replace("\n", "\\n").encode("ascii", "backslashreplace").decode())


main()
