"""Handlers and filters of other modules: with the operator pack they see and do what they do without it."""

import re
import unittest

from harness import HOST, Exporting, wait_for
from operator_clients import Stream
from test_operator_stanzas import Stanzas, message


def conversation(prosody, expect):
    """What two clients have the handlers and filters do. expect() is told what the pack has to have counted."""
    client, other = Stream(prosody.c2s_port), Stream(prosody.c2s_port)
    address = client.log_in("user1")
    other.log_in("user2")
    expect(iq=(2, 2))
    client.ask(message(address), "<body>hello</body>")
    expect(message=(1, 1))
    for number, (order, handled, sent) in enumerate((
        ("drop in 1000000", 0, 0), ("drop in -1000000", 0, 0), ("refuse in 10", 0, 0), ("drop out 1000000", 1, 0),
        ("refuse out -10", 1, 0), ("drop out -1000000", 1, 0),
    )):
        client.send(message(address, order))
        client.ask(f"<iq type='get' id='after{number}' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>", f"id='after{number}'")
        expect(message=(handled, sent), iq=(1, 1))
    client.ask(message(address, "turn out -10"), "<presence")
    expect(message=(1, 0), presence=(0, 1, 0))
    client.ask(message(address, "turn in -1000000"), "<presence")
    expect(presence=(1, 1))

    # It is handled as long as it waits; the next one of the same client waits, too.
    client.send(message(HOST, "wait") + message(HOST, "next"))
    wait_for("both", lambda: "handler wait" in prosody.log() and "filter in -1000000 next" in prosody.log())
    expect(message=(1, 0, 0))
    other.ask(message(HOST, "go"), "<body>go</body>")
    client.hear("<body>wait</body>")
    client.hear("<body>next</body>")
    expect(message=(2, 3, 3))

    client.send(message(HOST, "raise"))
    wait_for("the error", lambda: "as it was told" in prosody.log())
    expect(message=(1, 0, 0))
    client.ask(message(HOST, "still here"), "still here")
    expect(message=(1, 1))


def said(prosody):
    """What the module has said, and errors with where they were, but for what is metre's."""
    lines = [line.split("\t", 1)[1] for line in prosody.log().splitlines() if "handlers: " in line]
    # An error is followed by its traceback, which has no times.
    errors = re.findall(r"(?m)^.*\t(error\t.*as it was told.*(?:\n(?!\w+ \d+ \d+:).*)*)", prosody.log())
    places = [[place for place in re.findall(r"[\w/.]+\.lua:\d+:", error) if "metre/operator" not in place] for error in errors]
    first = [re.sub("^error\t.*?Traceback", "Traceback", error.splitlines()[0]) for error in errors]
    return lines, first, places


def tried(config, expecting=True):
    with Exporting(modules=("metre_handlers",), config=config) as prosody:
        prosody.add_users(2)
        prosody.serves()
        stanzas = expecting and Stanzas(prosody)
        conversation(prosody, stanzas.expect if stanzas else lambda **_: None)
        slow = re.findall("Slow stanza.*", prosody.log())
        waited = prosody.samples().get(("prosody_stanza_processing_duration_seconds_sum", (("kind", "message"), ("session", "c2s"))))
        return said(prosody), slow, waited


class Handlers(unittest.TestCase):
    def test_the_same_with_the_pack_and_without(self):
        without, slow, _ = tried("operator = false;", expecting=False)
        self.assertEqual(slow, [])
        with_pack, slow, waited = tried('operator = { slow_log = "1ms" };')
        self.assertEqual(with_pack, without)
        lines, errors, places = without
        self.assertEqual((len(errors), len(places)), (1, 1))
        self.assertGreater(len(places[0]), 3)
        self.assertGreater(len(lines), 50)
        # At least the one that has waited.
        self.assertTrue([line for line in slow if re.fullmatch(
            rf"Slow stanza: message of type chat from a session \(c2s\) of {HOST} took \d+\.\d{{3}} s", line)], slow)
        self.assertGreater(waited, 0)
