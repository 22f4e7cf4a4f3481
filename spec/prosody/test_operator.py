"""The operator pack as a whole: what is there, when it begins, what leaves it out."""

import unittest

from harness import Exporting, wait_for


class Basics(unittest.TestCase):
    def test_what_is_always_there(self):
        with Exporting().serves() as prosody:
            samples = prosody.samples()
            self.assertGreater(samples["prosody_start_time_seconds", ()], 1.7e9)
            self.assertGreater(samples["prosody_lua_heap_bytes", ()], 1e6)
            self.assertEqual(samples["prosody_config_reloads_total", ()], 0)
            prosody.reload()
            wait_for("the reload", lambda: prosody.samples()["prosody_config_reloads_total", ()] == 1)
            self.assertEqual(prosody.complaints(), [])
