"""The page that the Rust tests compare with is one that a parser of others takes."""

import unittest

from harness import ROOT, parse
from prometheus_client.parser import text_string_to_metric_families


class Golden(unittest.TestCase):
    def test_page(self):
        page = (ROOT / "tests/golden/page.txt").read_text()
        samples = parse(page.replace(" NOW\n", " 1800000000.5\n"))
        self.assertEqual(samples[("hits_bytes_total", ())], 9223372036854775807)
        self.assertEqual(samples[("prosody_mod_c2s__connections", (("host", 'b\\"\n'), ("type", "")))], -0.5)
        self.assertEqual(len(samples), 15)

    def test_text(self):
        page = (ROOT / "tests/golden/text.txt").read_text()
        families = {family.name: family for family in text_string_to_metric_families(page)}
        self.assertEqual(families["hits_bytes"].type, "counter")
        self.assertEqual(families["hits_bytes"].documentation, 'With "quotes"\nand lines')
        samples = {(sample.name, *sample.labels.values()): sample.value for family in families.values() for sample in family.samples}
        self.assertEqual(samples[("hits_bytes_total",)], 2.0**63)
        self.assertEqual(samples[("sizes_sum", "dn")], -5)
        self.assertEqual(samples[("sizes_count", "dn")], 1)
        self.assertEqual(len(samples), 12)
