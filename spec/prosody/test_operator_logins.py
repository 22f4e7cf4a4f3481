"""Logging in, as the operator pack counts it: with raw clients, over TCP, BOSH and WebSocket, with backends that are slow or fail."""

import asyncio
import time
import unittest

from harness import HOST, Exporting, clients
from operator_clients import SASL, Bosh, Ledger, Stream, WebSocket, encoded

FAMILIES = ("prosody_c2s_auth", "prosody_c2s_login")
HOSTS = """
    VirtualHost "anonymous.test"
        authentication = "anonymous"
    VirtualHost "backend.test"
        authentication = "metre_backend"
    VirtualHost "secure.test"
        allow_unencrypted_plain_auth = false
"""


def attempts(result, host=HOST, count=1, timed=True):
    """What moves when attempts end so, with how long they took."""
    moved = {f"c2s_auth_attempts_total{{{result}}}" if host == HOST else f"c2s_auth_attempts_total{{{host},{result}}}": count}
    if timed:
        moved["c2s_auth_duration_seconds_count" + ("" if host == HOST else f"{{{host}}}")] = count
    return moved


def logins(host=HOST):
    return {**attempts("success", host), "c2s_login_duration_seconds_count": 1}


class Logins(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prosody = cls.enterClassContext(Exporting(options=HOSTS, modules=["bosh", "websocket", "legacyauth"]))
        cls.prosody.add_users(3)
        cls.prosody.serves()

    def setUp(self):
        self.expect = Ledger(self.prosody, *FAMILIES).expect

    def tearDown(self):
        # Prosody complains itself, of what is done to it here.
        self.assertNotRegex(self.prosody.log(), r"metre/operator|\bmetre\t(warn|error)")

    def stream(self, host=HOST):
        client = Stream(self.prosody.c2s_port)
        self.addCleanup(client.drop)
        client.open(host)
        return client

    def own_counters(self):
        """What Prosody's own families say, but for the connections that are open just now."""
        own = {key: value for key, value in self.prosody.samples().items() if key[0].startswith("prosody_mod_")}
        return {key: value for key, value in own.items() if key[0] != "prosody_mod_c2s__connections"}

    def test_failures_that_fire_no_event(self):
        own = self.own_counters()
        client = self.stream()
        client.auth("user1", mechanism="NONE", answer="<invalid-mechanism/>")
        self.expect(attempts("invalid-mechanism"))
        client.ask(f"<auth {SASL} mechanism='PLAIN'>?</auth>", "<incorrect-encoding/>")
        self.expect(attempts("incorrect-encoding"))
        client.ask(f"<abort {SASL}/>", "<aborted/>")
        self.expect(attempts("aborted", timed=False))
        client.ask(f"<response {SASL}/>", "<not-authorized/>")
        self.expect(attempts("not-authorized", timed=False))
        client.close()
        client = self.stream("backend.test")
        client.auth("asked", answer="<challenge")
        client.ask(f"<abort {SASL}/>", "<aborted/>")
        self.expect(attempts("aborted", "backend.test"))
        client.close()
        client = self.stream("secure.test")
        client.auth("user1", answer="<encryption-required/>")
        self.expect(attempts("encryption-required", "secure.test"))
        for element in f"auth {SASL}", "authenticate xmlns='urn:xmpp:sasl:2'":
            client = self.stream("backend.test")
            client.ask(f"<{element} mechanism='LIMITED'/>", "<temporary-auth-failure")
            self.expect(attempts("temporary-auth-failure", "backend.test"))
        # Prosody's own counters have stood still.
        self.assertGreater(len(own), 10)
        self.assertEqual(self.own_counters(), own)

    def test_results(self):
        client = self.stream()
        client.auth("user1", "wrong", answer="<not-authorized/>")
        client.auth("user1", "wrong", answer="<not-authorized/>")
        self.expect(attempts("not-authorized", count=2))
        client.auth("user1", answer="<success")
        self.expect(attempts("success"))
        # What others send looks alike.
        client.open()
        client.bind("a")
        self.expect({"c2s_login_duration_seconds_count": 1})
        client.ask(f"<iq type='get' to='{HOST}' id='x'><query xmlns='nothing'/></iq>", "type='error'")
        client.auth("user2", answer="<")
        client.close()
        self.expect({})
        Stream(self.prosody.c2s_port).drop()
        self.expect({})

    def duration(self):
        return self.prosody.samples()["prosody_c2s_login_duration_seconds_sum", ()]

    def test_other_ways(self):
        before, began = self.duration(), time.monotonic()
        async def real_client():
            async with clients(self.prosody, 1):
                pass
        asyncio.run(real_client())
        self.expect(logins())
        client = self.stream("anonymous.test")
        client.ask(f"<auth {SASL} mechanism='ANONYMOUS'/>", "<success")
        client.open("anonymous.test")
        client.bind("a")
        self.expect(logins("anonymous.test"))
        for way in (Bosh(self.prosody.http_port), WebSocket(self.prosody.http_port)):
            way.open()
            way.auth("user1", "wrong", answer="<not-authorized")
            self.expect(attempts("not-authorized"))
            way.auth("user2", answer="<success")
            way.open()
            way.bind("a")
            self.expect(logins())
            way.close()
        taken = self.duration() - before
        self.assertGreater(taken, 0)
        self.assertLess(taken, time.monotonic() - began)

    def test_before_sasl(self):
        def query(password, user="user1"):
            return (f"<iq type='set' id='{password}'><query xmlns='jabber:iq:auth'><username>{user}</username><password>{password}</password>"
                    "<resource>old</resource></query></iq>")
        client = self.stream("secure.test")
        client.ask(query("metre"), "<not-acceptable")
        self.expect(attempts("encryption-required", "secure.test"))
        client = self.stream()
        client.ask("<iq type='get' id='1'><query xmlns='jabber:iq:auth'><username>user1</username></query></iq>", "type='result'")
        self.expect({})
        client.ask(query("metre", "who@"), "<bad-request")
        self.expect(attempts("malformed-request"))
        client.ask(query("wrong"), "<not-authorized")
        self.expect(attempts("not-authorized"))
        client.ask(query("metre"), "type='result'")
        self.expect(logins())
        client.close()
        self.expect({})

    def test_backends(self):
        client = self.stream("backend.test")
        client.auth("slow", answer="<success")
        self.expect(attempts("success", "backend.test"))
        key = ("prosody_c2s_auth_duration_seconds_sum", (("host", "backend.test"),))
        self.assertGreater(self.prosody.samples()[key], 0.19)
        client = self.stream("backend.test")
        client.auth("absent", answer="<temporary-auth-failure/>")
        self.expect(attempts("temporary-auth-failure", "backend.test"))
        client.auth("wrong", answer="<not-authorized/>")
        self.expect(attempts("not-authorized", "backend.test"))
        client.ask(f"<auth {SASL} mechanism='EXTERNAL'>{encoded('somebody')}</auth>", "<success")
        self.expect(attempts("success", "backend.test"))

    def test_nobody_answers(self):
        # The backend raises: Prosody never answers, which is known when the client tries again or goes.
        client = self.stream("backend.test")
        client.send(f"<auth {SASL} mechanism='PLAIN'>{encoded(chr(0) + 'broken' + chr(0))}</auth>")
        client.auth("asked", answer="<challenge")
        self.expect(attempts("temporary-auth-failure", "backend.test"))
        # The client doesn't answer: it begins anew, or goes.
        client.auth("asked", answer="<challenge")
        self.expect(attempts("aborted", "backend.test", timed=False))
        client.drop()
        self.expect(attempts("aborted", "backend.test", timed=False))
        client = self.stream("backend.test")
        client.auth("asked", answer="<challenge")
        client.send(f"<response {SASL}>{encoded('broken')}</response>")
        client.auth("asked", answer="<challenge")
        self.expect(attempts("temporary-auth-failure", "backend.test"))
        client.ask(f"<abort {SASL}/>", "<aborted/>")
        self.expect(attempts("aborted", "backend.test"))
        client.send(f"<auth {SASL} mechanism='PLAIN'>{encoded(chr(0) + 'broken' + chr(0))}</auth>")
        client.auth("asked", answer="<challenge")
        self.expect(attempts("temporary-auth-failure", "backend.test"))
        client.ask(f"<response {SASL}>{encoded('this')}</response>", "<success")
        self.expect(attempts("success", "backend.test"))
        # The client goes while the backend is at it.
        client = self.stream("backend.test")
        client.send(f"<auth {SASL} mechanism='PLAIN'>{encoded(chr(0) + 'hang' + chr(0))}</auth>")
        self.prosody.shell("> return 'it has come'")
        client.drop(reset=True)
        # A loop over select() doesn't see that while nothing is to be read; Prosody would wait for c2s_timeout.
        self.prosody.shell("c2s:closeall()")
        self.expect(attempts("temporary-auth-failure", "backend.test"))
        self.prosody.shell("> prosody.events.fire_event('metre-release')")
        self.expect({})


class WithoutStanzas(unittest.TestCase):
    """Nothing else looks at what is sent then."""

    def test_failures(self):
        with Exporting(options=HOSTS, config="operator = { stanzas = false }") as prosody:
            prosody.add_users(1)
            prosody.serves()
            ledger = Ledger(prosody, *FAMILIES, "prosody_stanzas")
            client = Stream(prosody.c2s_port)
            client.open("backend.test")
            client.auth("wrong", answer="<not-authorized/>")
            ledger.expect(attempts("not-authorized", "backend.test"))
            client.auth("asked", answer="<challenge")
            client.drop()
            ledger.expect(attempts("aborted", "backend.test", timed=False))
