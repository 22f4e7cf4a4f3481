"""Sessions and streams of clients, as the operator pack counts them: with raw clients, over TCP, BOSH and WebSocket."""

import unittest

from harness import HOST, Exporting, Prosody, wait_for
from operator_clients import ENABLE, HEADER, Bosh, Ledger, Stream, WebSocket
from statsd_servers import Listener

FAMILIES = ("prosody_sessions", "prosody_users_online", "prosody_c2s_streams", "prosody_smacks_resumptions")
CONNECTED, HIBERNATING, USERS = "sessions{connected}", "sessions{hibernating}", "users_online"
OPENED, RESUMED = "sessions_opened_total", "smacks_resumptions_total"
# Counts what there is, as connected, hibernating and users.
RECOUNT = f"""> local n, h, u = 0, 0, 0; for _, user in pairs(prosody.hosts["{HOST}"].sessions) do u = u + 1; for _, s in pairs(user.sessions) do
    if s.hibernating then h = h + 1 else n = n + 1 end end end; return ("counted %d %d %d"):format(n, h, u)""".replace("\n", "")


def closed(cause, count=1):
    return {f"sessions_closed_total{{{cause}}}": count}


def streams(condition, of_ours=True):
    return {f"c2s_streams_closed_total{{{condition}{'' if of_ours else ','}}}": 1}


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        options = """
            c2s_close_timeout = 1
            VirtualHost "brief.test"
                authentication = "metre_backend"
                smacks_hibernation_time = 1
        """
        cls.prosody = cls.enterClassContext(Exporting(options=options, modules=["bosh", "websocket"]))
        cls.prosody.add_users(3)
        cls.prosody.serves()

    def setUp(self):
        self.expect = Ledger(self.prosody, *FAMILIES).expect

    def tearDown(self):
        # Everybody has gone, and what was counted step by step is what there is.
        wait_for("nobody to be there", lambda: "counted 0 0 0" in self.prosody.shell(RECOUNT))
        samples = self.prosody.samples()
        for state in "connected", "hibernating":
            self.assertEqual(samples["prosody_sessions", (("host", HOST), ("state", state))], 0)
        self.assertEqual(samples["prosody_users_online", (("host", HOST),)], 0)
        self.assertNotRegex(self.prosody.log(), r"metre/operator|\bmetre\t(warn|error)")

    def client(self, user="user1", resource="test", make=Stream, port=None):
        client = make(port or (self.prosody.c2s_port if make is Stream else self.prosody.http_port))
        client.log_in(user, resource)
        return client

    def log_in(self, *arguments, users=1, **more):
        client = self.client(*arguments, **more)
        self.expect({CONNECTED: 1, OPENED: 1} | ({USERS: users} if users else {}))
        return client

    def smacks(self, client):
        return client.ask(ENABLE, "<enabled[^>]*? id=['\"]([^'\"]+)")[1]

    def resume(self, token, answer="<resumed"):
        client = Stream(self.prosody.c2s_port)
        client.open()
        client.auth("user1")
        client.open()
        client.ask(f"<resume xmlns='urn:xmpp:sm:3' h='0' previd='{token}'/>", answer)
        return client

    def gone(self, cause, **more):
        return {CONNECTED: -1, USERS: -1} | closed(cause) | more

    def test_farewells(self):
        one = self.log_in()
        two = self.log_in(resource="two", users=0)
        other = self.log_in("user2")
        one.close()
        self.expect({CONNECTED: -1} | closed("client"))
        other.close()
        self.expect(self.gone("client"))
        two.drop()
        self.expect(self.gone("connection"))
        self.log_in().drop(reset=True)
        self.expect(self.gone("connection"))
        # A reload changes nothing.
        client = self.log_in()
        reloads = ("prosody_config_reloads_total", ())
        before = self.prosody.samples()[reloads]
        self.prosody.reload()
        wait_for("the reload", lambda: self.prosody.samples()[reloads] > before)
        self.expect({})
        client.close()
        self.expect(self.gone("client"))

    def test_other_transports(self):
        for make in Bosh, WebSocket:
            client = self.log_in(make=make)
            client.close()
            self.expect(self.gone("client"))
        self.log_in(make=WebSocket).drop()
        self.expect(self.gone("connection"))
        # It is silent for too long.
        client = self.log_in(make=Bosh)
        self.prosody.shell(f'> prosody.full_sessions["user1@{HOST}/test"].bosh_max_inactive = 0.1')
        client.send("")
        self.expect(self.gone("connection"))
        self.log_in(make=Bosh)
        self.prosody.shell(f'c2s:close("user1@{HOST}", "go", "policy-violation")')
        self.expect(self.gone("error") | streams("policy-violation"))

    def test_what_the_server_ends(self):
        client = self.log_in()
        again = self.client()
        self.expect({OPENED: 1} | closed("replaced") | streams("conflict"))
        client.ends()
        self.prosody.shell(f'c2s:close("user1@{HOST}")')
        again.ends()
        self.expect(self.gone("server"))
        # As most clients do, it answers.
        client = self.log_in()
        self.prosody.shell(f'c2s:close("user1@{HOST}")')
        client.hear("</stream:stream>")
        client.close()
        self.expect(self.gone("server"))
        client = self.log_in()
        self.prosody.shell(f'c2s:close("user1@{HOST}", "go away")')
        client.ends()
        self.expect(self.gone("server") | streams("undefined-condition"))
        client = self.log_in()
        self.prosody.shell(f'user:password("user1@{HOST}", "metre")')
        client.ends()
        self.expect(self.gone("server") | streams("reset"))
        client = self.log_in()
        client.ask("<message></presence>", "<not-well-formed")
        client.ends()
        self.expect(self.gone("error") | streams("not-well-formed"))

    def test_hibernation(self):
        client = self.log_in()
        token = self.smacks(client)
        self.expect({})
        client.drop()
        self.expect({CONNECTED: -1, HIBERNATING: 1})
        client = self.resume(token)
        self.expect({CONNECTED: 1, HIBERNATING: -1, RESUMED: 1})
        # It comes back before its old connection is known to be lost.
        again = self.resume(token)
        self.expect({RESUMED: 1})
        client.drop()
        self.expect({})
        again.drop()
        self.expect({CONNECTED: -1, HIBERNATING: 1})
        # It is replaced.
        client = self.client()
        self.expect({CONNECTED: 1, HIBERNATING: -1, OPENED: 1} | closed("replaced") | streams("conflict"))
        # Farewell ends it, whatever it could resume.
        token = self.smacks(client)
        client.close()
        self.expect(self.gone("client"))
        self.resume(token, "<failed").close()
        self.expect({})
        # BOSH doesn't ask before it closes a session.
        client = self.log_in(make=Bosh)
        token = self.smacks(client)
        client.close()
        self.expect({CONNECTED: -1, HIBERNATING: 1})
        client = self.resume(token)
        self.expect({CONNECTED: 1, HIBERNATING: -1, RESUMED: 1})
        self.prosody.shell(f'c2s:close("user1@{HOST}")')
        client.ends()
        self.expect(self.gone("server"))
        # It hibernates for too long.
        client = Stream(self.prosody.c2s_port)
        client.log_in("user", host="brief.test")
        self.smacks(client)
        client.drop()
        self.expect({"sessions_opened_total{brief.test}": 1, "sessions_closed_total{hibernation,brief.test}": 1})

    def test_streams(self):
        # Names that a client makes up are on no page.
        for header, condition, counted in ("to='made.up'", "host-unknown", "host-unknown"), ("", "improper-addressing", "other"):
            client = Stream(self.prosody.c2s_port)
            client.ask(HEADER.format(header), f"<{condition} ")
            client.ends()
            self.expect(streams(counted, of_ours=False))
        self.assertNotIn("made.up", "\n".join(line for line in self.prosody.scrape().splitlines() if line.startswith(FAMILIES)))
        client = Stream(self.prosody.c2s_port)
        client.open()
        client.send(f"<message>{'x' * 20000}</message>")
        client.ends()
        self.expect(streams("policy-violation"))
        Stream(self.prosody.c2s_port).drop()
        client = Stream(self.prosody.c2s_port)
        client.open()
        client.close()
        self.expect({})

    def test_hosts_at_run_time(self):
        client = self.log_in()
        self.prosody.shell(f'host:deactivate("{HOST}")')
        client.ends()
        wait_for("its series to go", lambda: not any(("host", HOST) in labels for name, labels in self.prosody.samples()
                                                     if name.startswith(FAMILIES)))
        self.prosody.shell(f'host:activate("{HOST}")')
        self.expect = Ledger(self.prosody, *FAMILIES).expect
        self.log_in().close()
        self.expect(self.gone("client"))


class Shutdown(unittest.TestCase):
    """What the last collection has, and goes to statsd."""

    def test_it_ends_all(self):
        with Listener() as listener:
            config = f'statsd = {{ server = "127.0.0.1:{listener.port}"; flush_interval = 0.1 }}'
            with Prosody(options=f'statistics_interval = "manual"; statistics_config = {{ {config} }}') as prosody:
                prosody.add_users(3)
                prosody.start()
                everyone = [Stream(prosody.c2s_port) for _ in range(3)]
                for number, client in enumerate(everyone, 1):
                    client.log_in(f"user{number}")
                everyone[1].ask(ENABLE, "<enabled")
                everyone[2].ask(ENABLE, "<enabled")
                everyone[2].drop()
                wait_for("the hibernation", lambda: "going into hibernation" in prosody.log())
                prosody.shell("> require 'core.statsmanager'.collect() return 'done'")
                listener.wait_for("prosody.prosody_sessions.localhost.connected", 2)
                listener.wait_for("prosody.prosody_sessions.localhost.hibernating", 1)
                prosody.stop()
                for client in everyone:
                    client.drop()
                self.assertNotRegex(prosody.log(), r"metre/operator|\bmetre\t(warn|error)")
            listener.close()
        self.assertEqual({name: value for name, value in listener.counters.items() if "sessions_closed" in name},
                         {"prosody.prosody_sessions_closed.localhost.shutdown": 3})
        for state in "connected", "hibernating":
            self.assertEqual(listener.gauges[f"prosody.prosody_sessions.localhost.{state}"], 0)
        self.assertEqual(listener.gauges["prosody.prosody_users_online.localhost"], 0)
