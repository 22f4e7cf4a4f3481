"""Statsd servers on loopback: one of ours that writes down every line, statsd from npm, Debian's collectd."""

import collections
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading

from harness import ROOT, free_port, wait_for

LINE = re.compile(r"([A-Za-z0-9_.+-]+):([0-9.e+-]+)\|([a-z]+)")


class Listener:
    """Adds up what comes in: the steps of counters, the last value of gauges."""

    def __init__(self, port=0, address="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((address, port))
        self.socket.settimeout(0.05)
        self.port = self.socket.getsockname()[1]
        self.counters = collections.Counter()
        self.gauges = {}
        self.datagrams = 0
        self.bad = []
        self.open = True
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while True:
            try:
                datagram = self.socket.recv(65536)
            except TimeoutError:
                if not self.open:
                    return
                continue
            self.datagrams += 1
            for line in datagram.decode(errors="replace").split("\n"):
                match = LINE.fullmatch(line)
                if not match:
                    self.bad.append(line)
                elif match[3] == "c":
                    self.counters[match[1]] += float(match[2])
                else:
                    self.gauges[match[1]] = float(match[2])

    def wait_for(self, name, value):
        wait_for(f"{name} to be {value}", lambda: self.counters.get(name) == value or self.gauges.get(name) == value)

    def close(self):
        """Ends, once everything that has been sent is taken in."""
        self.open = False
        self.thread.join()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.open:
            self.close()


def is_bound(port):
    """Whether somebody has this UDP port, or listens on this TCP port."""
    for name in ("udp", "udp6", "tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if local.endswith(f":{port:04X}") and (name.startswith("udp") or state == "0A"):
                return True
    return False


class Server:
    """A server that is a process with a directory of its own."""

    def __init__(self, command, port):
        self.command = command
        self.port = port
        self.process = None

    def start(self):
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )
        def serves():
            if self.process.poll() is not None:
                raise AssertionError((self.directory / "output").read_text())
            return is_bound(self.port)
        wait_for(f"{self.command[0]} to listen", serves)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class NodeStatsd(Server):
    """statsd from npm. It is asked for its values over its management port, so it never has to flush."""

    def __init__(self, protocol="udp", address="127.0.0.1"):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="metre-statsd-"))
        self.admin_port = free_port()
        port = free_port()
        server = {"server": f"./servers/{protocol}", "address": address, "address_ipv6": ":" in address, "port": port}
        config = {
            "backends": ["./backends/console"], "servers": [server], "mgmt_port": self.admin_port,
            "mgmt_address": "127.0.0.1", "flushInterval": 3_600_000,
        }
        (self.directory / "config.js").write_text(json.dumps(config))
        program = ROOT / "target/statsd/node_modules/statsd/stats.js"
        super().__init__(["node", str(program), str(self.directory / "config.js")], port)

    def ask(self, what):
        """`counters`, `gauges` or `timers`, by name."""
        try:
            with socket.create_connection(("127.0.0.1", self.admin_port), 5) as connection:
                connection.sendall(what.encode() + b"\n")
                answer = b""
                while b"END" not in answer:
                    answer += connection.recv(65536)
        except ConnectionError:
            return {}
        pairs = re.findall(r"'?([\w.+:-]+)'?: (\[[^]]*\]|[-\d.e+]+)", answer.decode())
        return {name: value if value.startswith("[") else float(value) for name, value in pairs}


class Collectd(Server):
    """Debian's collectd with its statsd plugin, which writes what it has got into files."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="metre-collectd-"))
        port = free_port()
        (self.directory / "collectd.conf").write_text(f"""
            Hostname "host"
            Interval 0.2
            BaseDir "{self.directory}"
            PIDFile "{self.directory}/pid"
            PluginDir "/usr/lib/collectd"
            TypesDB "/usr/share/collectd/types.db"
            LoadPlugin statsd
            LoadPlugin csv
            <Plugin statsd>
                Host "127.0.0.1"
                Port "{port}"
            </Plugin>
            <Plugin csv>
                DataDir "{self.directory}/csv"
                StoreRates false
            </Plugin>
        """)
        super().__init__(["/usr/sbin/collectd", "-f", "-C", str(self.directory / "collectd.conf")], port)

    def value(self, kind, name):
        """The last value of a `derive` (a counter's total), `gauge` or `latency`."""
        files = sorted((self.directory / "csv/host/statsd").glob(f"{kind}-{name}-2*"))
        lines = files[-1].read_text().splitlines() if files else []
        return float(lines[-1].split(",")[1]) if len(lines) > 1 else None
