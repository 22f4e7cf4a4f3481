"""The licences of the crates that are linked into the module: whoever passes the module on has to pass these on too."""

import json
import os
import pathlib
import re
import subprocess
import textwrap

from common import ROOT

CARGO = os.environ.get("CARGO", "cargo")
# Where a crate leaves the choice: the shortest terms first. The second is how the names of files with such a licence end.
CHOICES = [("MIT", "MIT"), ("Zlib", "ZLIB"), ("BSL-1.0", "BOOST"), ("BSD-3-Clause", "BSD"), ("Apache-2.0", "APACHE")]
ALWAYS = re.compile(r"NOTICE|COPYRIGHT|THIRD[-_]PARTY", re.IGNORECASE)


def cargo(*arguments):
    return subprocess.run([CARGO, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def linked():
    """The crates that are linked in, as cargo describes them."""
    # All modules have the same ones. What only runs while building is not among them.
    tree = cargo("tree", "--locked", "--edges", "normal,no-proc-macro", "--features", "lua54", "--prefix", "none", "--format", "{p}")
    wanted = {tuple(line.split()[:2]) for line in tree.splitlines()}
    packages = json.loads(cargo("metadata", "--locked", "--features", "lua54", "--format-version", "1"))["packages"]
    found = [package for package in packages if (package["name"], "v" + package["version"]) in wanted and package["source"]]
    if len(found) != len(wanted) - 1:
        raise SystemExit("packaging: cargo tree and cargo metadata do not agree on what is linked in")
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def mit(holders):
    """Our own licence, as if it were theirs."""
    return re.sub(r"(?m)^Copyright .*$", lambda _: f"Copyright (c) {holders}", (ROOT / "LICENSE").read_text())


def choose(package):
    """(licence, its texts): the one of those offered that we take, or all of them where there is no choice."""
    expression = package["license"] or "none named"
    directory = pathlib.Path(package["manifest_path"]).parent
    names = sorted(file.name for file in directory.iterdir() if file.is_file())
    files = [name for name in names if re.match(r"(?i)(un)?licen[cs]e|copying", name) and not ALWAYS.search(name)]
    licence = expression
    if not re.search(r"\b(AND|WITH)\b", expression):
        offered = set(re.split(r"\s+OR\s+|/", expression))
        licence, ending = next(((licence, ending) for licence, ending in CHOICES if licence in offered), (expression, None))
        fitting = [name for name in files if ending and re.search(rf"(?i)-{ending}(\.|$)", name)]
        files = fitting or [name for name in files if re.match(r"(?i)(licen[cs]e|copying)(\.|$)", name)]
    files += [name for name in names if ALWAYS.search(name)]
    texts = [(directory / name).read_text(errors="replace") for name in files]
    if not texts and licence == "MIT" and package["authors"]:
        texts = [mit(", ".join(package["authors"]))]
    if not texts or licence == "none named":
        raise SystemExit(f"packaging: no licence text found for {package['name']} {package['version']} ({expression})")
    return licence, texts


def third_parties(elsewhere=()):
    """A text with each crate and its licence, then each distinct text; of licences `elsewhere` ({name: path}), where it is found."""
    crates, texts = [], {}
    for package in linked():
        name = f"{package['name']}-{package['version']}"
        licence, found = choose(package)
        crates.append(f"{name}: {licence}")
        for text in [f"The text is found in {elsewhere[licence]}."] if licence in elsewhere else found:
            lines = [line.rstrip() for line in text.strip("\n").splitlines()]
            texts.setdefault("\n".join(lines), []).append(name)
    rust = "the standard library of Rust"
    crates.append(f"{rust}, with what that has linked in: MIT (COPYRIGHT-library.html in Rust's documentation has the details)")
    texts.setdefault(mit("The Rust Project Contributors").strip(), []).append(rust)

    parts = ["The native module has these linked in:\n\n" + "\n".join(f"  {crate}" for crate in crates)]
    for text, names in texts.items():
        title = textwrap.fill(", ".join(names), 100, break_on_hyphens=False)
        parts.append(f"{'-' * 100}\n{title}\n\n{text}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(third_parties(), end="")
