"""The queries of docs/operator.md, asked of a real Prometheus after a day of a Prosody, in short: people talk, and much fails."""

import asyncio
import contextlib
import http.client
import math
import re
import ssl
import unittest
import urllib.parse

from federation import Names
from harness import DEADLINE, HOST, ROOMS, ROOT, VERSION, Client, Exporting, Prometheus, chat, free_port, wait_for
from operator_clients import ENABLE, Bosh, Stream, self_signed, trusting
from operator_servers import SECRET, Component, Remote

BRIDGE, BROKEN, FILES, PUSH = (f"{name}.{HOST}" for name in ("bridge", "broken", "files", "push"))

# No answer is right for these: nothing stands still or restarts, somebody can log in, and accounts are counted after five minutes for the
# first time.
WITHOUT_ANSWER = (
    'up{job="prosody"} == 0', "metre_event_loop_blocked_seconds > 5", "changes(prosody_start_time_seconds[30m]) > 2",
    'sum(increase(prosody_c2s_auth_attempts_total{result="success"}[15m])) == 0', "prosody_users_registered", "prosody_active_users",
)
# That nothing is there is an answer.
MAY_BE_ZERO = ("prosody_component_connected == 0", "rate(prosody_mod_muc__room_eviction_total[1h])", "prosody_mod_bosh__active_sessions")


def queries():
    """All queries of the page: each begins in a line that isn't indented; whatever is indented goes on with it."""
    for block in re.findall(r"(?ms)^```promql\n(.*?)^```$", (ROOT / "docs/operator.md").read_text()):
        for query in re.split(r"\n(?! )", block.strip()):
            yield " ".join(query.split())


def message(to, body):
    return f"<message xmlns='jabber:client' to='{to}' type='chat'><body>{body}</body></message>"


class Document(unittest.TestCase):
    def setUp(self):
        with contextlib.ExitStack() as stack:
            names = Names()
            stack.callback(names.close)
            self.component_port = free_port()
            self.prosody = prosody = stack.enter_context(Exporting(
                config="operator = { bytes = true; active_users = true };",
                # Prosody has mod_cloud_notify since 13.
                plugin_paths=() if VERSION >= 13 else (ROOT / "spec/prosody/modules/push",),
                modules=("s2s", "tls", "dialback", "s2s_auth_certs", "bosh", "offline", "mam", "cloud_notify", "register_ibr",
                         *(["metre_names"] if VERSION < 13 else [])),
            ))
            key, certificate = self_signed(prosody.directory)
            options = f"""
                modules_disabled = {{}}
                s2s_ports = {{ {free_port()} }}; s2s_require_encryption = false; s2s_secure_auth = false
                component_ports = {{ {self.component_port} }}
                certificate = "{certificate}"; ssl = {{ certificate = "{certificate}"; key = "{key}" }}
                allow_registration = true; smacks_hibernation_time = 1; http_file_share_size_limit = 1000
                {names.options}
                Component "{BRIDGE}"
                    component_secret = "{SECRET}"
                Component "{PUSH}"
                    component_secret = "{SECRET}"
                Component "{FILES}" "http_file_share"
                VirtualHost "{BROKEN}"
                    authentication = "metre_backend"
                    storage = "metre_failing"
                VirtualHost "{HOST}"
            """
            text = prosody.config.read_text().replace(f'VirtualHost "{HOST}"', options)
            prosody.config.write_text(text.replace('"muc"\n', '"muc"\nmodules_enabled = { "muc_mam" }; muc_log_by_default = true\n'))
            prosody.add_users(4)
            prosody.serves()
            self.prometheus = stack.enter_context(Prometheus(f"http://{prosody.exporter}/metrics"))
            self.addCleanup(stack.pop_all().close)

    def test_each_query_has_an_answer(self):
        prosody, prometheus = self.prosody, self.prometheus
        self.assertEqual(prometheus.target()["health"], "up")
        self._failures("one.invalid")
        asyncio.run(self._conversation())
        client = self._client("user1")
        client.ask(f"<presence to='meeting@{ROOMS}/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "code=['\"]110['\"]")
        self._sessions(client)
        self._messages(client)
        self._files(client)
        prosody.shell(f'> local _ = require "core.modulemanager".load("{BROKEN}", "metre_not_there")')
        prosody.reload()
        wait_for("the reload", lambda: prosody.samples()["prosody_config_reloads_total", ()] == 1)
        self.assertIn("statistics displayed", prosody.shell("stats:show()"))
        # Nobody has Prosody load it.
        self_signed(prosody.directory, days=60)
        # What begins with its first event, as counters of Prosody's own do, has increased with the second one.
        prometheus.query("prosody_mod_c2s__encrypted_total")
        prometheus.query("prosody_storage_operation_errors_total > 0")
        prometheus.query("prosody_dns_seconds_count")
        self._failures("two.invalid")
        self._ask()

    def _client(self, user):
        client = Stream(self.prosody.c2s_port)
        self.addCleanup(client.drop)
        client.log_in(user)
        return client

    def _stranger(self, host=HOST):
        stranger = Stream(self.prosody.c2s_port)
        self.addCleanup(stranger.drop)
        stranger.open(host)
        return stranger

    def _failures(self, domain):
        """Of logins, TLS, streams and stores, and of another server."""
        self._stranger().auth("user1", "wrong", answer="<not-authorized")
        self._stranger(BROKEN).auth("absent", answer="<temporary-auth-failure")
        self._stranger().ask(f"<iq>{'x' * 20_000}</iq>", "<policy-violation")
        for context in trusting(), ssl.create_default_context():
            client = self._stranger()
            client.ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
            with contextlib.suppress(ssl.SSLError):
                client.start_tls(context)
                client.open()
        client = self._client("user3")
        client.ask(message(f"user1@{BROKEN}", "hello"), "type=['\"]error")
        client.ask(message(f"somebody@{domain}", "hello"), "<remote-server-")
        client.close()

    async def _conversation(self):
        everyone = [Client(f"user{number}", self.prosody.c2s_port) for number in (1, 2)]
        for client in everyone:
            await client.log_in()
        await chat(everyone, messages=1)
        for client in everyone:
            await client.log_out()

    def _sessions(self, client):
        """Over BOSH, also to a host and in a session that aren't there; one that is resumed in time, and then too late."""
        for attributes in "to='unknown.invalid' wait='1' hold='1'", "sid='yesterday'":
            Bosh(self.prosody.http_port).post(attributes)
        Bosh(self.prosody.http_port).log_in("user3")
        ended = ("prosody_sessions_closed_total", (("cause", "hibernation"), ("host", HOST)))
        sleeping = ("prosody_sessions", (("host", HOST), ("state", "hibernating")))

        def resume(is_in_time):
            """Whether that was so; on a busy machine it is too late sometimes."""
            sleeper = self._stranger()
            sleeper.auth("user4")
            sleeper.open()
            address = sleeper.bind("sleeper")
            token = sleeper.ask(ENABLE, r"<enabled[^>]*?\sid=['\"]([^'\"]+)")[1]
            before = self.prosody.samples()
            client.send(message(address, "asleep?"))
            sleeper.drop(reset=True)
            wait_for("sleep", lambda: (after := self.prosody.samples())[ended] > before[ended] or is_in_time and after[sleeping])
            sleeper = self._stranger()
            sleeper.auth("user4")
            sleeper.open()
            return sleeper, sleeper.ask(f"<resume xmlns='urn:xmpp:sm:3' h='0' previd='{token}'/>", "<(resumed|failed)")[1]
        while resume(True)[1] == "failed":
            pass
        sleeper = resume(False)[0]
        # It acknowledges nothing.
        address = sleeper.bind("awake")
        sleeper.ask(ENABLE, "<enabled")
        client.send(message(address, "awake?"))
        sleeper.hear("awake[?]")

    def _messages(self, client):
        """To those who are offline, with push; to nobody; to other servers. One looks into the archive, and somebody registers."""
        other = self._client("user2")
        other.ask(f"<iq type='set' id='p'><enable xmlns='urn:xmpp:push:0' jid='{PUSH}' node='n'/></iq>", "id=['\"]p")
        other.close()
        client.send(message(f"user2@{HOST}", "later"))
        client.ask(message(f"nobody@{HOST}", "hello"), "<service-unavailable")
        client.ask("<iq type='set' id='a'><query xmlns='urn:xmpp:mam:2'/></iq>", "<fin ")
        with Remote() as remote:
            client.send(message(f"somebody@{remote.name}", "from afar"))
            wait_for("the message", lambda: "from afar" in remote.heard)
        self._client("user2").ask("<presence/>", "later")
        form = "<username>user5</username><password>secret</password>"
        self._stranger().ask(f"<iq type='set' id='r'><query xmlns='jabber:iq:register'>{form}</query></iq>", "id=['\"]r")

    def _files(self, client):
        def slot(size):
            return (f"<iq type='get' id='f' to='{FILES}'><request xmlns='urn:xmpp:http:upload:0' filename='a' size='{size}' "
                    "content-type='text/plain'/></iq>")
        client.ask(slot(1001), "<not-acceptable")
        url = urllib.parse.urlsplit(client.ask(slot(5), "<put [^>]*url=['\"]([^'\"]+)")[1])
        headers = {"Host": url.hostname, "Authorization": client.hear("<header [^>]*>([^<]+)<")[1], "Content-Type": "text/plain"}
        connection = http.client.HTTPConnection("127.0.0.1", self.prosody.http_port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request("PUT", url.path, b"hello", headers)
            self.assertEqual(connection.getresponse().status, 201)

    def _ask(self):
        def values(query):
            """Nothing if it isn't one."""
            answer = self.prometheus.ask("query?query=" + urllib.parse.quote(query))
            return answer and [float(series["value"][1]) for series in answer["result"]]

        def is_answered(query):
            return any(not math.isnan(value) and (value or query in MAY_BE_ZERO) for value in values(query))
        everything = list(queries())
        self.assertGreater(len(everything), 50)
        self.assertEqual([query for query in everything if values(query) is None], [])
        open_ones = [query for query in everything if not query.startswith(WITHOUT_ANSWER)]
        # Each exception is there.
        self.assertEqual(len(everything) - len(open_ones), len(WITHOUT_ANSWER))

        def are_answered():
            open_ones[:] = [query for query in open_ones if not is_answered(query)]
            return not open_ones
        try:
            wait_for("answers", are_answered)
        except TimeoutError:
            self.fail("no answers: " + "\n".join(open_ones))
