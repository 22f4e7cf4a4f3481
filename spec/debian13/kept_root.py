"""A Debian 13 with all that metre's tests need, made once and kept; each use begins with it as it was made."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "spec/packages"))

from clean_root import ENVIRONMENT, Root, bootstrap, keep_archives  # noqa: E402

SUITE = "trixie"
PACKAGES = """
    prosody lua5.4 lua-unbound lua-event lua-dbi-sqlite3 luarocks
    cargo gcc libc6-dev make
    prometheus collectd-core nodejs curl iproute2 procps python3 python3-slixmpp python3-prometheus-client
""".split()
PLACE = ROOT / "target/debian13"
# What metre's sources are built in by Debian 13's own cargo, and the crates that it has fetched.
BUILT, CRATES = PLACE / "built", PLACE / "cargo"
# Where the sources lie in there: those that tests are run from, and those that are built, with a target of their own.
HERE, SOURCES = "/metre", "/usr/src/metre"

# The only way to the registry that some machines have.
ENVIRONMENT.update({name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy", "no_proxy")})


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def kept():
    """The directory with the Debian that all others begin with; made if it isn't there, which takes a minute or two."""
    PLACE.mkdir(parents=True, exist_ok=True)
    # Another list of packages makes another one.
    path = PLACE / f"root-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:12]}"
    with open(PLACE / "lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not path.exists():
            # Those of another list, and what was left unfinished.
            for old in PLACE.glob("root-*"):
                shutil.rmtree(old)
            make(path)
    return path


def make(path):
    unfinished = Root(pathlib.Path(tempfile.mkdtemp(prefix="root-unfinished-", dir=PLACE)))
    unfinished.path.chmod(0o755)
    bootstrap(unfinished.path, SUITE)
    mount("--rbind", "/dev", unfinished.path / "dev")
    try:
        unfinished.run("apt-get", "update", timeout=300)
        # Not by debootstrap, which does not know which of several alternatives will do.
        unfinished.install(*PACKAGES, timeout=1200)
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", unfinished.path / "dev"], check=True)
    keep_archives(unfinished.path, SUITE)
    unfinished.run("apt-get", "clean")
    unfinished.path.rename(path)


@contextlib.contextmanager
def debian13():
    """A Root that begins as the kept one; what is written there is in memory and goes with the context."""
    with tempfile.TemporaryDirectory(prefix="metre-debian13-") as directory:
        place = pathlib.Path(directory)
        mount("-t", "tmpfs", "-o", "mode=755,size=4g", "metre", place)
        try:
            for name in ("written", "work", "root"):
                (place / name).mkdir()
            root = Root(place / "root")
            options = f"lowerdir={kept()},upperdir={place}/written,workdir={place}/work"
            mount("-t", "overlay", "-o", options, "metre", root.path)
            mount("--rbind", "/dev", root.path / "dev")
            # The way to the registry is this machine's.
            for file in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
                if pathlib.Path("/", file).exists():
                    (root.path / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(f"/{file}", root.path / file)
            show(ROOT, root.path / HERE.lstrip("/"))
            show(ROOT, root.path / SOURCES.lstrip("/"))
            seed_crates()
            for kept_directory, target in ((BUILT, f"{SOURCES}/target"), (CRATES, "/root/.cargo")):
                kept_directory.mkdir(exist_ok=True)
                show(kept_directory, root.path / target.lstrip("/"), writable=True)
            yield root
        finally:
            subprocess.run(["umount", "--recursive", "--lazy", place], check=True)


def seed_crates():
    """What this machine's own cargo has fetched need not be fetched again."""
    fetched = pathlib.Path(os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")) / "registry"
    if not CRATES.exists():
        CRATES.mkdir()
        for part in ("index", "cache"):
            if (fetched / part).exists():
                shutil.copytree(fetched / part, CRATES / "registry" / part)


def show(directory, place, writable=False):
    """Has a directory appear at another place."""
    place.mkdir(parents=True, exist_ok=True)
    mount("--bind", directory, place)
    if not writable:
        mount("-o", "remount,bind,ro", place)
