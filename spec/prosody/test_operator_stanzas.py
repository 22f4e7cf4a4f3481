"""Stanzas as the operator pack counts and measures them: on sessions of all kinds, once each, and no others."""

import re
import unittest

from harness import HOST, Exporting, free_port, wait_for
from operator_clients import ENABLE, Bosh, Ledger, Stream, WebSocket
from operator_servers import SECRET, Collected, Component, Remote

EXTERNAL = f"external.{HOST}"
FAMILIES = ("stanzas", "stanza_errors", "stanza_processing")


class Stanzas(Collected):
    """What has moved of stanzas: some series come with their first sample."""

    def __init__(self, prosody):
        super().__init__(prosody, *FAMILIES)

    def expect(self, **moved):
        """By kind what was received, what was sent and what was handled (as much as was received unless it says otherwise), each for users'
        sessions or as {session: number}; `errors` as {(kind, condition): number}."""
        expected = {f"stanza_errors_total{{{condition},{kind}}}": number for (kind, condition), number in moved.pop("errors", {}).items()}
        for kind, (received, sent, *handled) in moved.items():
            for what, numbers in (("stanzas_total{in,", received), ("stanzas_total{out,", sent),
                                  ("stanza_processing_duration_seconds_count{", handled[0] if handled else received)):
                for session, number in (numbers if isinstance(numbers, dict) else {"c2s": numbers}).items():
                    if number:
                        expected[f"{what}{kind},{session}}}"] = number
        last = None

        def as_expected():
            nonlocal last
            after, last = self._moved()
            if last == expected:
                self.before = after
            return last == expected
        try:
            wait_for("what moves", as_expected)
        except TimeoutError:
            raise AssertionError(f"moved: {last}, and not: {expected}") from None


def message(to, body="hello", more=""):
    return f"<message xmlns='jabber:client' to='{to}' type='chat' {more}><body>{body}</body></message>"


def serving(modules=(), options=""):
    prosody = Exporting(modules=modules, options=options)
    prosody.add_users(3)
    return prosody.serves()


class Sessions(unittest.TestCase):
    def test_of_clients_over_all_transports(self):
        with serving(("bosh", "websocket")) as prosody:
            stanzas = Stanzas(prosody)
            for number, (make, port) in enumerate(((Stream, prosody.c2s_port), (WebSocket, prosody.http_port), (Bosh, prosody.http_port)), 1):
                with self.subTest(make):
                    client = make(port)
                    address = client.log_in(f"user{number}")
                    stanzas.expect(iq=(1, 1))
                    client.ask(message(address), "<body>hello</body>")
                    stanzas.expect(message=(1, 1))
                    client.ask("<presence xmlns='jabber:client'/>", "<presence")
                    stanzas.expect(presence=(1, 1))
                    # No stanzas.
                    client.ask("<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>", "id='p'")
                    stanzas.expect(iq=(1, 1))
                    client.ask("<enable xmlns='urn:xmpp:sm:3'/><r xmlns='urn:xmpp:sm:3'/>" if make is Stream else
                               "<enable xmlns='urn:xmpp:sm:3'/>", "<(enabled|failed|a) ")
                    stanzas.expect()
                    client.close()
                    # The end of a session is an unavailable presence, which Prosody handles itself.
                    stanzas.expect(presence=(0, 0, 1))
            self.assertEqual(prosody.complaints(), [])

    def test_of_external_components(self):
        port = free_port()
        external = f"component_ports = {{ {port} }}\nComponent '{EXTERNAL}'\ncomponent_secret = '{SECRET}'"
        with serving(options=external) as prosody:
            stanzas = Stanzas(prosody)
            client = Stream(prosody.c2s_port)
            address = client.log_in()
            stanzas.expect(iq=(1, 1))
            client.ask(message(EXTERNAL), "<remote-server-timeout")
            stanzas.expect(message=(1, 1), errors={("message", "remote-server-timeout"): 1})
            component = Component(port, EXTERNAL)
            stanzas.expect()
            client.send(message(f"somebody@{EXTERNAL}"))
            component.hear("<body>hello</body>")
            stanzas.expect(message=(1, {"component": 1}))
            component.send(f"<message to='{address}' from='somebody@{EXTERNAL}'><body>hello, too</body></message>")
            client.hear("hello, too")
            stanzas.expect(message=({"component": 1}, 1))
            # To nobody.
            component.ask(f"<iq to='{HOST}' from='{EXTERNAL}' type='get' id='i'><query xmlns='no:such'/></iq>", "<service-unavailable")
            stanzas.expect(iq=({"component": 1}, {"component": 1}), errors={("iq", "service-unavailable"): 1})
            component.close()
            again = Component(port, EXTERNAL)
            client.send(message(EXTERNAL))
            again.hear("<body>hello</body>")
            stanzas.expect(message=(1, {"component": 1}))

    def test_of_other_servers(self):
        port = free_port()
        options = f"""
            modules_disabled = {{ "tls" }}; s2s_ports = {{ {port} }}; s2s_require_encryption = false; s2s_secure_auth = false;
        """
        with serving(("dialback",), options) as prosody, Remote() as remote:
            stanzas = Stanzas(prosody)
            client = Stream(prosody.c2s_port)
            address = client.log_in()
            stanzas.expect(iq=(1, 1))
            # They wait for the connection.
            client.send(message(f"somebody@{remote.name}") * 2 + f"<presence to='{remote.name}'/>")
            wait_for("the messages", lambda: remote.heard.count("<body>hello</body>") == 2 and "<presence" in remote.heard)
            stanzas.expect(message=(2, {"s2s": 2}), presence=(1, {"s2s": 1}))
            client.send(message(f"somebody@{remote.name}", "again"))
            wait_for("the message", lambda: "again" in remote.heard)
            stanzas.expect(message=(1, {"s2s": 1}))
            stream = remote.connect(port)
            stanzas.expect()
            stream.send(f"<message to='{address}' from='somebody@{remote.name}'><body>from afar</body></message>")
            client.hear("from afar")
            stanzas.expect(message=({"s2s": 1}, 1))
            stream.send(f"<iq to='{HOST}' from='{remote.name}' type='get' id='i'><query xmlns='no:such'/></iq>")
            wait_for("the error", lambda: "service-unavailable" in remote.heard)
            stanzas.expect(iq=({"s2s": 1}, {"s2s": 1}), errors={("iq", "service-unavailable"): 1})
            # An error that waits for a connection.
            with Remote() as other:
                other.connect(port).send(f"<message to='nobody@{HOST}' from='{other.name}' type='chat'><body>?</body></message>")
                wait_for("the error", lambda: "service-unavailable" in other.heard)
            stanzas.expect(message=({"s2s": 1}, {"s2s": 1}), errors={("message", "service-unavailable"): 1})


class Smacks(unittest.TestCase):
    def test_sessions_that_sleep_wake_and_die(self):
        with serving(options='smacks_max_queue_size = 3; modules_disabled = { "s2s", "tls", "offline" }') as prosody:
            stanzas = Stanzas(prosody)
            talker, sleeper = Stream(prosody.c2s_port), Stream(prosody.c2s_port)
            talker.log_in("user1")
            address = sleeper.log_in("user2")
            stanzas.expect(iq=(2, 2))
            session = sleeper.ask(ENABLE, r"<enabled[^>]*\sid='([^']+)'")[1]
            for turn in range(3):
                sleeper.drop(reset=True)
                wait_for("its sleep", lambda: prosody.log().count("going into hibernation") > turn)
                talker.send(message(address, "wake up"))
                stanzas.expect(message=(1, 0))
                # A filter of the old session and one of the new, for those who'd add both.
                sleeper = Stream(prosody.c2s_port)
                sleeper.open()
                sleeper.auth("user2")
                sleeper.open()
                sleeper.ask(f"<resume xmlns='urn:xmpp:sm:3' previd='{session}' h='{2 * turn}'/>", "<resumed")
                sleeper.hear("wake up")
                stanzas.expect(message=(0, 1, 0))
                talker.send(message(address, "still awake?"))
                sleeper.hear("still awake")
                stanzas.expect(message=(1, 1))
            # It was sent more than its queue can hold, and goes without a word on what it got.
            talker.send("".join(message(address, f"message {number}") for number in range(5)))
            sleeper.hear("message 4")
            stanzas.expect(message=(5, 5))
            sleeper.close()
            talker.hear("<recipient-unavailable(.|\n)*<recipient-unavailable(.|\n)*<recipient-unavailable")
            stanzas.expect(message=(0, 3, 0), errors={("message", "recipient-unavailable"): 3})
            # It is dead.
            talker.ask(message(address), "<service-unavailable")
            stanzas.expect(message=(1, 1), errors={("message", "service-unavailable"): 1})


class Errors(unittest.TestCase):
    def test_by_kind_and_condition(self):
        files = f"Component 'files.{HOST}' 'http_file_share'\nhttp_file_share_size_limit = 1000"
        with serving(options=files) as prosody:
            client = Stream(prosody.c2s_port)
            address = client.log_in()
            stanzas = Stanzas(prosody)
            failed = "<{} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
            for kind, condition, sent in (
                ("message", "service-unavailable", message(f"nobody@{HOST}")),
                ("message", "jid-malformed", message("@")),
                ("presence", "jid-malformed", "<presence to='@'/>"),
                ("iq", "bad-request", "<iq type='odd' id='1'/>"),
                ("iq", "service-unavailable", f"<iq type='get' id='2' to='{HOST}'><query xmlns='no:such'/></iq>"),
                ("iq", "not-acceptable", f"<iq type='get' id='3' to='files.{HOST}'><request xmlns='urn:xmpp:http:upload:0' filename='a' "
                                         "size='1001' content-type='text/plain'/></iq>"),
            ):
                with self.subTest(kind=kind, condition=condition):
                    client.ask(sent, f"<{condition}")
                    stanzas.expect(**{kind: (1, 1)}, errors={(kind, condition): 1})
            # A client's, with what nobody knows, without anything, and with one that is rare.
            for inside, condition in ((f"<error type='cancel'>{failed.format('made-up')}</error>", "other"), ("<body/>", "other"),
                                      ("<error/>", "other"), (f"<error>{failed.format('text')}{failed.format('redirect')}</error>", "redirect")):
                client.ask(f"<message to='{address}' type='error'>{inside}</message>", "type='error'")
                stanzas.expect(message=(1, 1), errors={("message", condition): 1})
            conditions = {dict(labels)["condition"] for name, labels in prosody.samples() if name == "prosody_stanza_errors_total"}
            self.assertNotIn("made-up", conditions)
            self.assertIn("other", conditions)


class Bytes(unittest.TestCase):
    def test_what_comes_and_goes(self):
        with Exporting(config="operator = { bytes = true };") as prosody:
            prosody.add_users(1)
            prosody.serves()
            client = Stream(prosody.c2s_port)
            client.log_in()
            traffic = Ledger(prosody, "prosody_traffic")
            ping = f"<iq type='get' id='p' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>"
            before = len(client.heard)
            client.send(ping)
            wait_for("the answer", lambda: client.heard[before:].endswith("/>") or client.receive())
            traffic.expect({"traffic_bytes_total{in,c2s}": len(ping), "traffic_bytes_total{out,c2s}": len(client.heard) - before})
            self.assertEqual(prosody.complaints(), [])


class Off(unittest.TestCase):
    def test_what_the_operator_leaves_out(self):
        with Exporting(config="operator = { stanzas = false; processing = false };").serves() as prosody:
            names = {name for name, _ in prosody.samples()}
            self.assertFalse([name for name in names if re.match("prosody_(stanza|traffic)", name)])
            self.assertIn("prosody_modules", names)

    def test_no_durations(self):
        port = free_port()
        external = f"component_ports = {{ {port} }}\nComponent '{EXTERNAL}'\ncomponent_secret = '{SECRET}'"
        with Exporting(config="operator = { processing = false };", options=external) as prosody:
            prosody.add_users(1)
            prosody.serves()
            stanzas = Stanzas(prosody)
            client, component = Stream(prosody.c2s_port), Component(port, EXTERNAL)
            address = client.log_in()
            stanzas.expect(iq=(1, 1, 0))
            component.send(f"<message to='{address}' from='{EXTERNAL}'><body>hello</body></message>")
            client.hear("hello")
            stanzas.expect(message=({"component": 1}, 1, 0))
            client.ask("<presence/>", "<presence")
            stanzas.expect(presence=(1, 1, 0))
            client.close()
            stanzas.expect()

    def test_durations_alone(self):
        with Exporting(config="operator = { stanzas = false };") as prosody:
            prosody.add_users(1)
            prosody.serves()
            client = Stream(prosody.c2s_port)
            client.log_in()
            names = {name for name, _ in prosody.samples()}
            self.assertNotIn("prosody_stanzas_total", names)
            samples = prosody.samples()
            self.assertEqual(samples["prosody_stanza_processing_duration_seconds_count", (("kind", "iq"), ("session", "c2s"))], 1)
