"""What the packages have in common: which version, of when, and which files."""

import calendar
import os
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EARLIEST = 315532800  # 1980, where a zip's times begin


def version():
    """The version in Cargo.toml."""
    return re.search(r'(?m)^version = "(.+)"$', (ROOT / "Cargo.toml").read_text()).group(1)


def epoch():
    """The time that packages bear: SOURCE_DATE_EPOCH, or the last commit's, or the newest date in the changelog."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return max(EARLIEST, int(os.environ["SOURCE_DATE_EPOCH"]))
    # The sources may lie unpacked within somebody else's repository, or belong to another user than the one who builds.
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    try:
        prefix = subprocess.run([*git, "rev-parse", "--show-prefix"], capture_output=True, text=True, check=True).stdout
        if prefix.strip() == "":
            log = subprocess.run([*git, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True).stdout
            return max(EARLIEST, int(log))
    except (OSError, subprocess.CalledProcessError):
        pass
    dates = re.findall(r"(?m)^## .*(\d{4}-\d\d-\d\d)", (ROOT / "CHANGELOG.md").read_text())
    return max([EARLIEST, *(calendar.timegm(time.strptime(date, "%Y-%m-%d")) for date in dates)])


def documents():
    """(path in the package's directory of documents, path here), laid so that the README's links hold."""
    names = ["README.md", "CHANGELOG.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").iterdir())]
    return [(name, ROOT / name) for name in names]
