"""Real parts on loopback: a Prosody of its own, XMPP clients, Prometheus. Everything ends with its context."""

import asyncio
import contextlib
import http.client
import inspect
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import slixmpp
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from stopwatch import Stopwatch

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = "localhost"
ROOMS = "rooms.localhost"
PASSWORD = "metre"
# Says nothing of metre: it is for what never comes.
DEADLINE = 120
# Prosody's; what is newer than all releases has no number.
VERSION = int((re.match(r"\d+", pathlib.Path("/usr/lib/prosody/prosody.version").read_text()) or ["99"])[0])
# Prosody's event loop: epoll, select or event (libevent); its own choice unless given.
BACKEND = os.environ.get("METRE_BACKEND")
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


_locks = []


def only_ours(name):
    """Whether no other test has this; it stays ours until this process ends."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0metre-test-{name}")
    except OSError:
        lock.close()
        return False
    _locks.append(lock)
    return True


def free_port():
    """A port that nobody has, and that no other test gets. None of those that the kernel gives out by itself: whoever is
    away for a while finds it free again."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        # tests/common/mod.rs takes the same locks.
        if only_ours(f"port-{port}"):
            return port


def wait_for(what, condition, deadline=DEADLINE):
    """The first true value of condition(), asked again and again."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline} s for {what}")
        time.sleep(0.02)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def fetch(url):
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return answer.read().decode()


def parse(page):
    """The samples of a page as {(name, labels): value}; raises for anything a strict parser refuses."""
    samples = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            if key in samples:
                raise ValueError(f"twice on the page: {key}")
            samples[key] = sample.value
    return samples


def installed(directory):
    """Installs metre under a directory and returns the environment that lets Prosody find it there.

    With METRE_MODULES=installed it is where the system has it, and found without help.
    """
    prefix = pathlib.Path(directory) / "prefix"
    modules = os.environ["METRE_MODULES"]
    if modules == "installed":
        return {}
    share, lib = prefix / "share/lua/5.4", prefix / "lib/lua/5.4"
    shutil.copytree(ROOT / "lua", share)
    shutil.copytree(modules, lib)
    return {"LUA_PATH": f"{share}/?.lua;;", "LUA_CPATH": f"{lib}/?.so;;"}


class Prosody:
    """A Prosody with its data, its configuration and its log in a temporary directory.

    plugin_paths are directories with further modules; log_level is the least that is logged.
    """

    def __init__(self, statistics=":metre", options="", modules=(), lua_cpath=True, plugin_paths=(), log_level="debug"):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="metre-prosody-"))
        self.c2s_port, self.http_port = free_port(), free_port()
        self.pidfile = self.directory / "prosody.pid"
        self.log_file = self.directory / "prosody.log"
        self.config = self.directory / "prosody.cfg.lua"
        self.environment = dict(os.environ, **installed(self.directory))
        if not lua_cpath:
            self.environment.pop("LUA_CPATH", None)
        for name in ("data", "certs"):
            (self.directory / name).mkdir()
        enabled = ["roster", "saslauth", "disco", "ping", "posix", "presence", "message", "iq", "csi_simple", "smacks"]
        enabled += ["http_openmetrics", "admin_shell", *modules]
        names = " ".join(f'"{name}";' for name in enabled)
        plugins = " ".join(f'"{path}";' for path in (ROOT / "spec/prosody/modules", *plugin_paths))
        backend = re.search(r'network_backend = "(\w+)"', options)
        self.backend = backend[1] if backend else BACKEND
        self.config.write_text(f"""
            run_as_root = true
            daemonize = false
            pidfile = "{self.pidfile}"
            data_path = "{self.directory}/data"
            plugin_paths = {{ {plugins} }}
            admin_socket = "{self.directory}/shell.sock"
            log = {{ {{ levels = {{ min = "{log_level}" }}, to = "file", filename = "{self.log_file}" }} }}
            interfaces = {{ "127.0.0.1" }}
            c2s_ports = {{ {self.c2s_port} }}
            http_ports = {{ {self.http_port} }}
            https_ports = {{ }}
            s2s_ports = {{ }}
            modules_disabled = {{ "s2s", "tls" }}
            modules_enabled = {{ {names} }}
            c2s_require_encryption = false
            allow_unencrypted_plain_auth = true
            authentication = "internal_plain"
            {f'statistics = "{statistics}"' if statistics else ""}
            {f'network_backend = "{BACKEND}"' if BACKEND and not backend else ""}
            {options}
            VirtualHost "{HOST}"
            Component "{ROOMS}" "muc"
                muc_room_locking = false
        """)
        self.process = None
        self.pid = None
        # Further arguments for the process, such as its user.
        self.spawning = {}
        # A command that runs it.
        self.wrapper = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid and is_alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, daemonize=False, deadline=DEADLINE):
        """Starts it and waits until it serves; with daemonize it forks into the background first."""
        command = [*self.wrapper, "/usr/bin/prosody", "-D" if daemonize else "-F", "--config", str(self.config)]
        with open(self.directory / "output", "wb") as output:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, **self.spawning,
            )
        if daemonize:
            self.process.wait(DEADLINE)
            self.pid = int(wait_for("the pid file", lambda: self.pidfile.exists() and self.pidfile.read_text().strip()))
        else:
            self.pid = self.process.pid
        wait_for("Prosody to serve", self._serves, deadline)
        return self

    def _serves(self):
        if not is_alive(self.pid):
            raise AssertionError("Prosody has ended:\n" + (self.directory / "output").read_text() + self.log()[-2000:])
        try:
            socket.create_connection(("127.0.0.1", self.c2s_port), 1).close()
            # Nothing is there, which takes no time.
            fetch(f"http://127.0.0.1:{self.http_port}/")
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self, how=signal.SIGTERM):
        """Ends it by a signal and returns how many seconds that took, by a stopwatch."""
        stopwatch = Stopwatch(self.pid)
        if how == signal.SIGKILL or self.hears_signals:
            os.kill(self.pid, how)
        else:
            # It may be gone before it has answered.
            with contextlib.suppress(AssertionError):
                self.shell("server:shutdown()")

        def has_ended():
            stopwatch.look()
            return not is_alive(self.pid)
        wait_for("Prosody to end", has_ended)
        if self.process and self.process.pid == self.pid:
            self.process.wait()
        return stopwatch.seconds()

    def reload(self):
        """Has it read its configuration anew, by SIGHUP if it hears that."""
        if self.hears_signals:
            os.kill(self.pid, signal.SIGHUP)
        else:
            self.shell("config:reload()")

    @property
    def hears_signals(self):
        """Prosody 13's deprecated loop over select() doesn't, whatever provider it has."""
        return VERSION < 13 or self.backend != "select"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}/metrics"

    def page(self):
        return fetch(self.url)

    def log(self):
        return self.log_file.read_text() if self.log_file.exists() else ""

    def complaints(self):
        """The warnings and errors in the log, but for those about signals, reloads and the loop that was asked for."""
        lines = [line for line in self.log().splitlines() if re.search(r"\t(warn|error)\t", line)]
        return [line for line in lines if not re.search(r"Received SIG|[Rr]eload|select is deprecated", line)]

    def memory(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def ctl(self, *arguments):
        """Runs prosodyctl and returns what it prints."""
        command = ["/usr/bin/prosodyctl", "--config", str(self.config), *arguments]
        done = subprocess.run(
            command, env=self.environment, input="", capture_output=True, text=True, timeout=DEADLINE
        )
        if done.returncode != 0:
            raise AssertionError(f"prosodyctl {arguments} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def shell(self, command):
        return self.ctl("shell", command)

    def add_users(self, count):
        """Makes accounts user1, user2, …"""
        accounts = self.directory / "data" / HOST / "accounts"
        accounts.mkdir(parents=True)
        for number in range(1, count + 1):
            (accounts / f"user{number}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')


class Exporting(Prosody):
    """A Prosody with an exporter, collecting when scraped."""

    def __init__(self, settings="", interval='"manual"', options="", config="", **more):
        self.port = free_port()
        self.exporter = f"127.0.0.1:{self.port}"
        listen = "" if "listen" in settings else f'listen = "{self.exporter}";'
        super().__init__(options=f"""
            statistics_interval = {interval}
            statistics_config = {{ exporter = {{ {listen} {settings} }}; {config} }}
            {options}
        """, **more)

    def serves(self, **more):
        self.start(**more)
        wait_for("the exporter", lambda: "Serving metrics at" in self.log())
        return self

    def get(self, path="/metrics", headers=OPENMETRICS, timeout=DEADLINE):
        """Status, headers and body, whatever they are."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def scrape(self, path="/metrics"):
        status, _, body = self.get(path)
        if status != 200:
            raise AssertionError(f"{status}: {body}")
        return body.decode()

    def samples(self, path="/metrics"):
        return parse(self.scrape(path))

    @contextlib.contextmanager
    def blocked(self):
        """Has Prosody's thread stand still; it has done so for a second at the beginning."""
        end = self.directory / "go-on"
        code = f"local f; repeat require 'socket'.sleep(0.01); f = io.open('{end}') until f; f:close()"
        ctl = threading.Thread(target=self.shell, args=[f"> {code}"])
        ctl.start()
        try:
            blocked = "metre_event_loop_blocked_seconds"
            wait_for("the block", lambda: self.samples(f"/metrics?name[]={blocked}")[(blocked, ())] > 1)
            yield
        finally:
            end.touch()
            ctl.join()
            end.unlink()


class Client(slixmpp.ClientXMPP):
    """An XMPP client that remembers what was said to it."""

    def __init__(self, user, port, resource="test", host=HOST):
        super().__init__(f"{user}@{host}/{resource}", PASSWORD)
        self.port = port
        self.heard = asyncio.Queue()
        self.register_plugin("xep_0045")
        self.register_plugin("xep_0199")
        self["feature_mechanisms"].unencrypted_plain = True
        self["feature_mechanisms"].unencrypted_scram = True
        # From slixmpp 1.9 on these are attributes, before that arguments.
        self.enable_direct_tls = self.enable_starttls = False
        self.enable_plaintext = True
        self.add_event_handler("message", lambda message: self.heard.put_nowait(message["body"]))

    async def log_in(self):
        if "use_ssl" in inspect.signature(self.connect).parameters:
            self.connect(("127.0.0.1", self.port), use_ssl=False, force_starttls=False, disable_starttls=True)
        else:
            self.connect("127.0.0.1", self.port)
        await self.wait_until("session_start", DEADLINE)
        self.send_presence()

    async def join(self, room, nick):
        # slixmpp 1.10 misses the answers to those who don't say who they are.
        options = {"pfrom": self.boundjid.full}
        await self["xep_0045"].join_muc_wait(f"{room}@{ROOMS}", nick, maxstanzas=0, presence_options=options)

    async def hears(self, body):
        """Waits until somebody says this."""
        while await asyncio.wait_for(self.heard.get(), DEADLINE) != body:
            pass

    async def log_out(self):
        gone = self.wait_until("disconnected", DEADLINE)
        self.disconnect()
        await gone


@contextlib.asynccontextmanager
async def clients(prosody, count):
    """That many clients, logged in as user1, user2, …"""
    everyone = [Client(f"user{number}", prosody.c2s_port) for number in range(1, count + 1)]
    try:
        for client in everyone:
            await client.log_in()
        yield everyone
    finally:
        for client in everyone:
            with contextlib.suppress(asyncio.TimeoutError):
                await client.log_out()


async def chat(everyone, messages=3):
    """Each client greets the next one, and all meet in a room."""
    for number, client in enumerate(everyone):
        other = everyone[(number + 1) % len(everyone)]
        for turn in range(messages):
            client.send_message(other.boundjid.full, f"hello {turn} from {client.boundjid.user}", mtype="chat")
            await other.hears(f"hello {turn} from {client.boundjid.user}")
    for client in everyone:
        await client.join("lobby", client.boundjid.user)
    everyone[0].send_message(f"lobby@{ROOMS}", "hello, everyone", mtype="groupchat")
    for client in everyone:
        await client.hears("hello, everyone")
    for client in everyone:
        await client["xep_0199"].ping(HOST)


class Prometheus:
    """Debian's Prometheus, scraping one target each second, or at another interval; it waits for an answer as long."""

    def __init__(self, target, interval=1):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="metre-prometheus-"))
        self.port = free_port()
        host, path = target.removeprefix("http://").split("/", 1)
        config = self.directory / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": f"{interval}s", "scrape_timeout": f"{interval}s"},
            "scrape_configs": [
                {"job_name": "prosody", "metrics_path": "/" + path, "static_configs": [{"targets": [host]}]}
            ],
        }))
        command = [
            "/usr/bin/prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self.output = open(self.directory / "output", "wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, start_new_session=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.output.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, path):
        try:
            return json.loads(fetch(f"http://127.0.0.1:{self.port}/api/v1/{path}"))["data"]
        except OSError:
            return None

    def target(self):
        """The state of the target, once it has been scraped."""
        def scraped():
            targets = (self.ask("targets") or {}).get("activeTargets", [])
            return targets and targets[0]["health"] != "unknown" and targets[0]
        return wait_for("the first scrape", scraped)

    def query(self, expression):
        """The value of the only series of an expression, once there is one."""
        quoted = urllib.request.quote(expression)
        result = wait_for(expression, lambda: (self.ask(f"query?query={quoted}") or {}).get("result"))
        return float(result[0]["value"][1])
