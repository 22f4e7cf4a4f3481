"""Sessions, stanzas and events of modules that are not as Prosody's own: with the operator pack they come to what they come to without it."""

import unittest

from harness import Exporting, wait_for
from operator_tools import complaints


def tried(config):
    with Exporting(modules=("metre_odd", "mam", "offline"), config=config) as prosody:
        prosody.serves()
        prosody.shell('> prosody.events.fire_event("metre-odd")')
        wait_for("all", lambda: "odd: done" in prosody.log())
        said = [line.split("odd: ", 1)[1] for line in prosody.log().splitlines() if "odd: " in line]
        return dict(line.split(": ", 1) for line in said[:-1]), complaints(prosody)


class Odd(unittest.TestCase):
    maxDiff = None

    def test_the_same_with_the_pack_and_without(self):
        without, _ = tried("operator = false;")
        self.assertGreater(len(without), 200)
        for config in ('operator = { slow_log = "1ms", bytes = true };', "operator = { stanzas = false };"):
            with self.subTest(config):
                with_pack, complaints_of_pack = tried(config)
                self.assertEqual({key: value for key, value in with_pack.items() if value != without.get(key)}, {})
                self.assertEqual(with_pack.keys(), without.keys())
                self.assertEqual([line for line in complaints_of_pack if "Please report" in line], [])
