"""The page that the Rust tests compare with is one that a parser of others takes."""

import unittest

from harness import ROOT, parse


class Golden(unittest.TestCase):
    def test_page(self):
        page = (ROOT / "tests/golden/page.txt").read_text()
        samples = parse(page.replace(" NOW\n", " 1800000000.5\n"))
        self.assertEqual(samples[("hits_bytes_total", ())], 9223372036854775807)
        self.assertEqual(samples[("prosody_mod_c2s__connections", (("host", 'b\\"\n'), ("type", "")))], -0.5)
        self.assertEqual(len(samples), 14)
