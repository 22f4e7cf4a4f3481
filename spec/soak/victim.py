"""A Prosody under test: a user of its own, a clock that can be set, limits that can be lowered, and counts that it keeps."""

import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import threading

from harness import ROOT, Prosody, free_port, parse, wait_for
from scrapers import TOKEN, get

USER = "prosody"
MODULES = "spec/prosody/modules"
NORMAL_DESCRIPTORS = 1024


def faketime():
    """The library that shows a process another time."""
    return next(iter(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")))


class Victim(Prosody):
    def __init__(self, name, server, tags, interval, token):
        self.name, self.server, self.tags = name, server, tags
        self.manual = interval == '"manual"'
        self.port, self.control_port = free_port(), free_port()
        self.exporter = f"127.0.0.1:{self.port}"
        super().__init__(modules=["metre_soak_control", "metre_soak"], log_level="info", options=f"""
            statistics_interval = {interval}
            statistics_config = {{
                exporter = {{
                    listen = "{self.exporter}"; collect_timeout = 0.5; collect_min_interval = 0.4;
                    header_timeout = 3; send_timeout = 3; @TOKEN@
                }};
                statsd = {{
                    server = "{server.scheme}://localhost:{server.port}"; flush_interval = 0.2; resolve_interval = 1;
                    tags = "{tags}";
                }};
                rule = {{ {{ match = "*passing*"; type = "counter"; idle_ttl = 3 }} }};
            }}
            metre_soak_port = {self.control_port}
            -- Prosody itself waits for that long when it has no descriptors.
            network_settings = {{ accept_retry_interval = 0.5 }}
        """)
        self.clock = self.directory / "clock"
        self.set_clock(0)
        self.environment.update({
            "LD_PRELOAD": str(faketime()), "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        })
        # Its user may not be able to read this directory.
        shutil.copytree(ROOT / MODULES, self.directory / "modules")
        self.token = self.directory / "token"
        self.token.write_text(TOKEN)
        text = self.config.read_text().replace(str(ROOT / MODULES), str(self.directory / "modules"))
        self.config.write_text(text.replace("@TOKEN@", f'bearer_token_file = "{self.token}";' if token else ""))
        # Faults that hold, by what they need.
        self.active = {}
        self.questions = 0
        self.asking = threading.Lock()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", self.control_port))
        self.socket.settimeout(0.5)

    def __exit__(self, *_):
        super().__exit__()
        self.socket.close()

    def start_without_threads(self):
        """The kernel refuses it threads from the beginning."""
        if os.getuid() == 0:
            # Root is refused nothing.
            self.spawning = {"user": USER, "group": USER, "extra_groups": []}
            subprocess.run(["chown", "-R", f"{USER}:{USER}", str(self.directory)], check=True)
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        self.threads_allowed = "unlimited" if hard == resource.RLIM_INFINITY else hard

        def limit():
            resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
            resource.setrlimit(resource.RLIMIT_NOFILE, (NORMAL_DESCRIPTORS, NORMAL_DESCRIPTORS))
        self.spawning["preexec_fn"] = limit
        return self.start()

    def refuse_threads(self, refused):
        most = 1 if refused else self.threads_allowed
        self.limit(f"--nproc={most}:{self.threads_allowed}")

    def limit_descriptors(self, most=NORMAL_DESCRIPTORS):
        self.limit(f"--nofile={most}:{NORMAL_DESCRIPTORS}")

    def limit(self, *what):
        """By a process of its own user: root may not do that to others everywhere."""
        user = {key: value for key, value in self.spawning.items() if key != "preexec_fn"}
        subprocess.run(["prlimit", "--pid", str(self.pid), *what], check=True, **user)

    def descriptors(self):
        return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def set_clock(self, offset):
        new = self.clock.with_suffix(".new")
        new.write_text(f"{offset:+d}\n")
        os.replace(new, self.clock)

    def ask(self, what, **more):
        """Has Prosody do something, and returns its answer. Prosody may be busy, and does it once at least."""
        with self.asking:
            self.questions += 1
            request = json.dumps(dict(more, what=what, id=self.questions)).encode()

            def answer():
                try:
                    self.socket.send(request)
                    while True:
                        found = json.loads(self.socket.recv(1 << 16))
                        if found["id"] == self.questions:
                            return found
                except (TimeoutError, ConnectionRefusedError):
                    return None
            found = wait_for(f"{self.name} to answer", answer)
        if "error" in found:
            raise AssertionError(found["error"])
        return found

    def scrape(self, timeout=10):
        return get(self.port, timeout)

    def samples(self):
        return parse(self.scrape())

    def log_works(self, text):
        self.ask("log", text=text)
        return text in self.log()

    def resident(self):
        """Resident bytes, once Lua has collected what is garbage; and Lua's."""
        heap = self.ask("clean")["heap"]
        return self.memory(), heap

    # What may be in the log: of metre what it says of these faults; of Prosody what it says of its descriptors, with metre or without.
    EXPECTED = re.compile("|".join([
        r"\t(info|debug)\t",
        r"metre\twarn\tNeither exporter nor statsd pusher run yet: no thread for ",
        r"metre\twarn\tCannot accept connections for metrics: Too many open files",
        r"metre\twarn\tCannot reach the statsd server .*; counts are kept until it is back$",
        r"metre\twarn\tProsody's event loop has not answered for ",
        r"metre\twarn\tMore clients want metrics at a time than ",
        r"metre\terror\tA module failed while statistics were collected: .* as the test wants it;",
        # A collection in the middle of which the clock is set back.
        r"metre\twarn\tMetric prosody_stats\.(collection|processing)_seconds: sample -.* is negative",
        r"mod_posix\twarn\tReceived SIGTERM",
        r"(modulemanager|datamanager|certmanager|startup)\terror\t.*: Too many open files",
        r"(c2s|.*:muc).*\terror\t(Roster loading failed|Error restoring room .*): Error reading storage",
    ]))

    def complaints(self):
        lines = self.log().splitlines()
        return [line for line in lines if not self.EXPECTED.search(line)]
