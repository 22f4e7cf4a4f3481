"""metre on Debian 13, got there in every way: each of spec/prosody's tests with Prosody 13, and metre by Debian 13's own Rust.

Usage: run [PART...], of epoll, select, event and rust; all of them unless given.
"""

import concurrent.futures
import contextlib
import functools
import re
import signal
import subprocess
import sys
import threading
import time

from kept_root import BUILT, CRATES, ENVIRONMENT, HERE, ROOT, SOURCES, debian13, kept

sys.path.insert(0, str(ROOT / "spec/packages"))

from clean_root import give_back  # noqa: E402

PARTS = ("epoll", "select", "event", "rust")
FILES = sorted((file.name for file in (ROOT / "spec/prosody").glob("test_*.py")), reverse=True)
# What depends on how Prosody's loop calls, wakes and ends: timers, collections, signals, sockets.
OF_THE_LOOP = {
    "test_prosody.py": ["Operation"],
    "test_exporter.py": ["Pages", "RealPrometheus", "StuckLoop", "Load.test_slow", "Load.test_ends", "Access.test_unix", "Access.test_address"],
    "test_statsd.py": ["Operation", "Servers.test_killed"],
    "test_policy.py": ["Growth"],
    "test_pushing.py": ["PushingOnly"],
    "test_probes.py": ["Probes"],
    "test_panics.py": ["Panics"],
}
printing = threading.Lock()


def say(*lines):
    with printing:
        print(*lines, sep="\n", flush=True)


class Tests:
    """The tests of spec/prosody in a Debian in which metre is installed."""

    def __init__(self, root, backend, patterns=None):
        self.root, self.backend, self.patterns = root, backend, patterns
        self.run = self.skipped = 0
        self.failed = []

    def one_file(self, file):
        chosen = [f"-k{pattern}" for pattern in self.patterns[file]] if self.patterns else []
        settings = [f"METRE_BACKEND={self.backend}", "METRE_MODULES=installed", f"METRE_PANICS={HERE}/target/panics"]
        # Not the first process there, since what has that as its parent takes itself to be a daemon already.
        command = self.root.command("sh", "-c", '"$@"; exit $?', "sh", "env", *settings, "/usr/bin/python3", "-B", "-m", "unittest", "discover", "-v",
                                    "-s", f"{HERE}/spec/prosody", "-p", file, *chosen)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              env=ENVIRONMENT)
        count = re.search(r"(?m)^Ran (\d+) test", done.stdout)
        skipped = re.search(r"skipped=(\d+)", done.stdout)
        with printing:
            print(f"== Debian 13, {self.backend}: {file}\n{done.stdout}", flush=True)
            self.run += int(count[1]) if count else 0
            self.skipped += int(skipped[1]) if skipped else 0
            if done.returncode or not count:
                self.failed.append(file)

    def all(self):
        """Two files at a time; a line on how they ended, and whether all went well."""
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(self.one_file, [file for file in FILES if not self.patterns or file in self.patterns]))
        failed = f"failures in {', '.join(self.failed)}" if self.failed else "0 failed"
        line = f"{self.backend}: {self.run} tests run, {self.skipped} skipped, {failed}; {(time.monotonic() - began) / 60:.1f} min"
        return line, not self.failed


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
        """The Rust tests; lines on the module and on how they ended, and whether all went well."""
        self.module()
        began = time.monotonic()
        printed = self.root.run("sh", "-c", f"cd {SOURCES} && cargo test --locked --lib --tests", timeout=3600)
        passed = sum(map(int, re.findall(r"(?m)^test result: ok\. (\d+) passed; 0 failed", printed)))
        if not passed:
            raise RuntimeError(f"no Rust tests were run:\n{printed[-4000:]}")
        return f"{self.line}\nRust tests: {passed} run, 0 failed; {(time.monotonic() - began) / 60:.1f} min", True


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


def part(backend, install, patterns=None):
    """Installs metre and runs tests; a line on them, and whether all went well."""
    with debian13() as root:
        install(root)
        check(root)
        return Tests(root, backend, patterns).all()


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
    results = []
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(1) as beside:
        built = Built(stack.enter_context(debian13()))
        rust = beside.submit(result, "rust", built.tests) if "rust" in parts else None
        for backend, install, patterns in (
            ("epoll", install_deb, None),
            ("select", functools.partial(install_sources, built=built), OF_THE_LOOP),
            ("event", install_rock, OF_THE_LOOP),
        ):
            if backend in parts:
                results.append(result(backend, part, backend, install, patterns))
        if rust:
            results.append(rust.result())
    give_back(BUILT, CRATES)
    print(f"\nDebian 13, in {(time.monotonic() - began) / 60:.1f} min:", *(line for line, _ in results), sep="\n")
    return all(fine for _, fine in results)


if __name__ == "__main__":
    wrong = set(sys.argv[1:]) - set(PARTS)
    if wrong:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(not main(sys.argv[1:] or PARTS))
