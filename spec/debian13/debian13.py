"""metre on Debian 13, got there in every way: each of spec/prosody's tests with Prosody 13, and metre by Debian 13's own Rust.

Usage: run [PART...], of epoll, select, event and rust; all of them unless given.
"""

import concurrent.futures
import functools
import re
import signal
import subprocess
import sys
import threading
import time

from kept_root import BUILT, CRATES, ENVIRONMENT, HERE, ROOT, SOURCES, debian13, kept

sys.path.insert(0, str(ROOT / "spec/packages"))

import cases  # noqa: E402
from clean_root import give_back  # noqa: E402

PARTS = ("epoll", "select", "event", "rust")
CASES = cases.all_cases()
# What depends on how Prosody's loop calls, wakes and ends: timers, collections, signals, sockets.
OF_THE_LOOP = (
    "test_prosody.Operation.",
    "test_exporter.Pages.", "test_exporter.RealPrometheus.", "test_exporter.StuckLoop.", "test_exporter.Load.test_slow", "test_exporter.Load.test_ends",
    "test_exporter.Access.test_unix", "test_exporter.Access.test_address",
    "test_statsd.Operation.", "test_statsd.Servers.test_killed",
    "test_policy.Growth.",
    "test_pushing.PushingOnly.",
    "test_probes.Probes.",
    "test_panics.Panics.",
)


def say(*lines):
    with cases.printing:
        print(*lines, sep="\n", flush=True)


def tests(root, backend, chosen=()):
    """Runs spec/prosody's tests, or those whose names begin so, in a Debian in which metre is installed; a line on how they ended, and
    whether all went well."""
    began = time.monotonic()
    settings = [f"METRE_BACKEND={backend}", "METRE_MODULES=installed", f"METRE_PANICS={HERE}/target/check"]
    # Not the first process there, since what has that as its parent takes itself to be a daemon already.
    beginning = root.command("sh", "-c", '"$@"; exit $?', "sh", "env", *settings)

    def one(case):
        names = [name for name in chosen if name.startswith(f"{case}.")]
        return cases.run(f"Debian 13, {backend}: {case}", [*beginning, *cases.command(f"{HERE}/spec/prosody", case, names)], env=ENVIRONMENT)

    wanted = [case for case in CASES if any(name.startswith(f"{case}.") for name in chosen or [f"{case}."])]
    unknown = [name for name in chosen if not name.startswith(tuple(f"{case}." for case in wanted))]
    if unknown:
        raise RuntimeError(f"no such tests: {', '.join(unknown)}")
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        results = list(pool.map(one, wanted))
    failed = [case for case, (_, _, fine) in zip(wanted, results) if not fine]
    how = f"failures in {', '.join(failed)}" if failed else "0 failed"
    ran, skipped = (sum(result[index] for result in results) for index in (0, 1))
    return f"{backend}: {ran} tests run, {skipped} skipped, {how}; {(time.monotonic() - began) / 60:.1f} min", not failed


class Built:
    """metre built by Debian 13's own Rust in its own Debian, once, for whoever asks first."""

    def __init__(self, root):
        self.root = root
        self.lock = threading.Lock()
        self.line = None

    def module(self):
        """Has it built by `make`, and returns a line on it."""
        with self.lock:
            if not self.line:
                rustc = self.root.run("rustc", "--version").strip()
                began = time.monotonic()
                self.root.run("make", "-C", SOURCES, timeout=3600)
                took = time.monotonic() - began
                size = (BUILT / "lua/5.4/metre_lua54.so").stat().st_size
                self.line = f"{rustc}: `make` in {took:.0f} s, the module has {size:,} bytes"
                say(self.line)
            return self.line

    def tests(self):
        """The Rust tests, built and run beside the module; lines on it and on how they ended, and whether all went well."""
        began = time.monotonic()
        printed = self.root.run("sh", "-c", f"cd {SOURCES} && cargo test --locked --lib --tests", timeout=3600)
        passed = sum(map(int, re.findall(r"(?m)^test result: ok\. (\d+) passed; 0 failed", printed)))
        if not passed:
            raise RuntimeError(f"no Rust tests were run:\n{printed[-4000:]}")
        line = f"Rust tests: {passed} run, 0 failed; {(time.monotonic() - began) / 60:.1f} min"
        return f"{self.module()}\n{line}", True


def install_deb(root):
    """As somebody who has downloaded the package."""
    root.install(root.put(next((ROOT / "target/deb").glob("*.deb"))))


def install_sources(root, built):
    """As somebody who builds it there, with Debian's own Rust."""
    built.module()
    root.run("make", "-C", SOURCES, "install", "PREFIX=/usr/local")


def install_rock(root):
    """As somebody who has downloaded the binary rock."""
    root.run("luarocks", "--lua-version=5.4", "install", root.put(next((ROOT / "target/rocks/5.4").glob("*.rock"))))


def check(root):
    """What a user looks at first: Prosody's own file, with values that systemd passes on; and what Debian has beside Lua 5.4."""
    config = root.path / "etc/prosody/prosody.cfg.lua"
    config.write_text('statistics = ":metre"\nstatistics_config = { exporter = { listen = Credential("address") } }\n'
                      'component_secret = Credential("secret")\n' + config.read_text())
    passed = root.path / "tmp/credentials"
    passed.mkdir()
    (passed / "secret").write_text("secret")
    for listen, found in (
        (None, "warning: 'statistics_config.exporter.listen' is not looked at: "),
        ("127.0.0.1:9469", "no mistakes found"),
        ("nonsense", "'exporter.listen' is the string"),
    ):
        if listen:
            (passed / "address").write_text(listen)
        said = root.run("env", *(["CREDENTIALS_DIRECTORY=/tmp/credentials"] if listen else []), "metre", "check", user="prosody", check=False)
        if found not in said:
            raise RuntimeError(f"metre check says: {said}")
    root.run("lua5.4", "-e", 'require "lunbound"; require "luaevent.core"')


def part(backend, install, *chosen):
    """Installs metre and runs tests; a line on them, and whether all went well."""
    with debian13() as root:
        install(root)
        check(root)
        return tests(root, backend, *chosen)


def result(name, function, *arguments):
    """What a part comes to; one that couldn't be run has failed, and the others go on."""
    try:
        return function(*arguments)
    except (RuntimeError, OSError, subprocess.SubprocessError) as why:
        return f"{name}: failed: {why}", False


def main(parts):
    began = time.monotonic()
    kept()
    say(f"Debian 13 is there after {time.monotonic() - began:.0f} s")
    # All at once, since most tests wait; cases.py says how many of these are run at a time.
    with debian13() as place, concurrent.futures.ThreadPoolExecutor(len(PARTS) + 1) as pool:
        built = Built(place)
        known = {
            "rust": (built.tests,),
            "epoll": (part, "epoll", install_deb),
            "select": (part, "select", functools.partial(install_sources, built=built), OF_THE_LOOP),
            "event": (part, "event", install_rock, OF_THE_LOOP),
        }
        # What takes longest begins first.
        if {"select", "rust"} & set(parts):
            pool.submit(result, "the module", built.module)
        futures = [pool.submit(result, name, *known[name]) for name in PARTS if name in parts]
        results = [future.result() for future in futures]
    give_back(BUILT, CRATES)
    print(f"\nDebian 13, in {(time.monotonic() - began) / 60:.1f} min:", *(line for line, _ in results), sep="\n")
    return all(fine for _, fine in results)


if __name__ == "__main__":
    wrong = set(sys.argv[1:]) - set(PARTS)
    if wrong:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(not main(sys.argv[1:] or PARTS))
