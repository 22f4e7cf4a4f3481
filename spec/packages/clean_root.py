"""A clean Debian in a directory of its own, in which packages are installed and Prosody is run. Needs root, for chroot."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "spec/prosody"))

from harness import OPENMETRICS, free_port, is_alive, parse, wait_for  # noqa: E402, F401

SUITE = "bookworm"
CACHE = ROOT / "target/debian"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive"}


def mirror():
    """Where this machine has its Debian from, if it is one. Mirrors have all releases."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"],
                             capture_output=True, text=True, check=True).stdout
    return [line.split()[2] for line in targets.splitlines() if line.startswith("Debian Debian ")][:1]


def bootstrap(path, suite):
    """Has debootstrap make a small Debian in a directory; packages that were fetched before are not fetched again."""
    archives = CACHE / f"archives-{suite}"
    archives.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["debootstrap", "--variant=minbase", f"--cache-dir={archives}", suite, path, *mirror()],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if made.returncode:
        raise RuntimeError(f"debootstrap: {made.stdout[-2000:]}{made.stderr[-2000:]}")
    # The services of what is installed shall not start; the tests start their own.
    policy = path / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    shutil.copytree(archives, path / "var/cache/apt/archives", dirs_exist_ok=True)


def keep_archives(path, suite):
    """Keeps the packages that were fetched in there for the next time."""
    archives = CACHE / f"archives-{suite}"
    for package in path.glob("var/cache/apt/archives/*.deb"):
        if not (archives / package.name).exists():
            shutil.copy(package, archives)


def give_back(*places):
    """What root made can be removed by whoever built the rest."""
    owner = (ROOT / "target").stat()
    for place in places:
        for file in [place, *place.rglob("*")]:
            os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


class Root:
    """A Debian in a directory, in which commands are run. What is mounted there is this process's alone (spec/packages/run)."""

    def __init__(self, path):
        self.path = path

    def command(self, *command, user="root"):
        """How to run a command in there: with its own /proc, and with everything it starts ended with it."""
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.path}/proc", "chroot",
                f"--userspec={user}:{user}", str(self.path), *map(str, command)]

    def run(self, *command, user="root", check=True, timeout=120):
        """Runs a command to its end; what it wrote."""
        done = subprocess.run(self.command(*command, user=user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=timeout, env=ENVIRONMENT)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    def install(self, *packages, timeout=120):
        return self.run("apt-get", "install", "-y", "--no-install-recommends", *packages, timeout=timeout)

    def put(self, file, place="/root"):
        """A file from outside, in there; its path in there."""
        shutil.copy(file, self.path / place.lstrip("/"))
        return f"{place}/{pathlib.Path(file).name}"


class CleanRoot(Root):
    """Debian as debootstrap makes it, and nothing else. It goes with the context."""

    def __init__(self):
        CACHE.mkdir(parents=True, exist_ok=True)
        super().__init__(pathlib.Path(tempfile.mkdtemp(prefix="root-", dir=CACHE)))
        # In memory: what writes packages waits for the disk all the time.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=2g", "metre", self.path], check=True)
        try:
            bootstrap(self.path, SUITE)
        except BaseException:
            self.close()
            raise

    def close(self):
        keep_archives(self.path, SUITE)
        subprocess.run(["umount", "--lazy", self.path], check=True)
        self.path.rmdir()
        give_back(CACHE)

    def files(self):
        """All that lies there, but for what is written by the way."""
        aside = "./proc ./root ./tmp ./run ./var/cache ./var/log ./var/lib/apt ./var/lib/dpkg ./var/lib/prosody".split()
        paths = subprocess.run(["find", "."], cwd=self.path, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        return {path for path in paths if not path.startswith(tuple(f"{place}/" for place in aside))}


class Prosody:
    """Debian's Prosody in the clean root, with Debian's configuration and what a user adds for metre."""

    def __init__(self, root):
        self.root = root
        self.port = free_port()
        self.config = root.path / "etc/prosody/prosody.cfg.lua"
        self.original = self.config.read_text()
        self.log = root.path / "var/log/prosody/prosody.log"
        self.process = None

    def __enter__(self):
        self.config.write_text(f"""\
statistics = ":metre"
statistics_interval = "manual"
statistics_config = {{ exporter = {{ listen = "127.0.0.1:{self.port}" }} }}
c2s_ports = {{ {free_port()} }}; s2s_ports = {{ }}; http_ports = {{ }}; https_ports = {{ }}; interfaces = {{ "127.0.0.1" }}
{self.original}""")
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        self.config.write_text(self.original)

    def start(self):
        """As Debian's unit does it."""
        self.log.unlink(missing_ok=True)
        self.root.run("install", "-d", "-o", "prosody", "-g", "prosody", "/run/prosody")
        self.process = subprocess.Popen(self.root.command("/usr/bin/prosody", "-F", user="prosody"), env=ENVIRONMENT,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def logged(self, text):
        return wait_for(f"{text!r} in the log", lambda: self.log.exists() and text in self.log.read_text())

    def _page(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"Prosody ended:\n{self.log.read_text()[-3000:] if self.log.exists() else 'without a log'}")
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics", headers=OPENMETRICS)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def page(self):
        """What a scraper gets, as soon as there is something."""
        return wait_for("a page", self._page)

    def stop(self, how=signal.SIGTERM):
        """Ends it; unshare, which is its parent, passes the signal on to nobody."""
        if self.process and self.process.poll() is None:
            for pid in self._children():
                os.kill(pid, how)
        return self.process.wait(30) if self.process else None

    def _children(self):
        """Prosody's own process, of which unshare is the parent."""
        pid = self.process.pid
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def is_alive(self):
        return all(is_alive(child) for child in self._children()) and self.process.poll() is None
