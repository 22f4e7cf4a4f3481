"""Limits and rules in a real Prosody, against a module that makes metrics of what a real client sends."""

import asyncio
import os
import pathlib
import subprocess
import tempfile
import unittest

from harness import HOST, ROOT, Exporting, Prosody, clients, installed, wait_for

PREFIX = "prosody_mod_metre_growth__"


def growing(config="", **more):
    """A Prosody with the module that grows."""
    return Exporting(modules=["metre_growth"], config=config, interval="1", **more)


def say(prosody, messages):
    """A client says all this to the server, one message after the other."""
    async def talk():
        async with clients(prosody, 1) as (client,):
            for message in messages:
                client.send_message(HOST, message, mtype="chat")
                await client.hears("counted")
    asyncio.run(talk())


def words(samples, name):
    """The values of a family's series by their word."""
    found = {}
    for (sample, labels), value in samples.items():
        if sample == PREFIX + name:
            found[dict(labels)["word"]] = value
    return found


class Growth(unittest.TestCase):
    def test_memory_is_bounded(self):
        limits = "limits = { max_series_per_family = 2000, max_families = 60 };"
        with growing(limits) as prosody:
            prosody.add_users(1)
            prosody.serves()
            def batch(number):
                return " ".join(f"word{number}-{word}" for word in range(500)) + f" family{number} {'x' * 5000}{number}"
            say(prosody, map(batch, range(20)))
            before = prosody.memory()
            say(prosody, map(batch, range(20, 220)))
            grown = prosody.memory() - before
            # 100,000 label sets of four families each, which would take more than 40 MB.
            self.assertLess(grown, 8 << 20, f"{grown} bytes")
            samples = prosody.samples()
            totals = words(samples, "words_total")
            self.assertEqual(len(totals), 2001)
            # Two odd ones each, and nothing is lost.
            self.assertEqual(sum(totals.values()), 220 * 502)
            self.assertEqual(totals["overflow"], 220 * 502 - 2000)
            self.assertNotIn("overflow", words(samples, "latest"))
            self.assertEqual(sum(words(samples, "lengths_bytes_count").values()), 220 * 502)
            families = [name for name, _ in samples if name.startswith(PREFIX + "of_family")]
            self.assertGreater(len(families), 0)
            self.assertLess(len(families), 60)
            limited = ("metre_limited_label_sets_total", (("family", PREFIX + "words"), ("limit", "max_series_per_family")))
            self.assertGreater(samples[limited], 90_000)
            ignored = ("metre_ignored_families_total", (("reason", "max_families"),))
            self.assertEqual(samples[ignored], 220 - len(families))
            complaints = prosody.complaints()
            for family in ("words", "lengths_bytes", "latest", "delay_seconds"):
                name = f"prosody_mod_metre_growth/{family}"
                lines = [line for line in complaints if f"Metric {name}:" in line]
                reasons = [line.split("new label sets ")[1][:10] for line in lines]
                self.assertEqual(sorted(reasons), ["are beyond", "with a val"], lines)
            self.assertLess(len(complaints), 8 + 102)
            self.assertEqual([line for line in complaints if " metre\t" not in line], [])

    def test_idle_series_go_and_come_back(self):
        rules = """rule = {
            { match = "*growth*", type = { "gauge", "counter", "histogram", "summary" }, idle_ttl = "8s" };
            { match = "*growth__delay_seconds", quantiles = { 0.5, 0.99 } };
        };"""
        with growing(rules) as prosody:
            prosody.add_users(1)
            prosody.serves()
            say(prosody, ["held1 word1 word2 familya", "held1"])
            samples = prosody.samples()
            self.assertEqual(words(samples, "words_total"), {"held1": 4, "word1": 1, "word2": 1, "familya": 1})
            quantile = (PREFIX + "delay_seconds", (("host", HOST), ("quantile", "0.99"), ("word", "word1")))
            self.assertAlmostEqual(samples[quantile], 0.005, delta=0.00005)
            created = words(samples, "words_created")["held1"]
            wait_for("the series to go", lambda: not any(name.startswith(PREFIX) for name, _ in prosody.samples()))
            say(prosody, ["held1"])
            samples = prosody.samples()
            self.assertEqual(words(samples, "words_total"), {"held1": 2})
            self.assertGreater(words(samples, "words_created")["held1"], created)
            self.assertGreaterEqual(samples[("metre_expired_series_total", (("family", PREFIX + "words"),))], 4)
            self.assertEqual(prosody.complaints(), [])

    def test_rules_for_what_it_makes(self):
        rules = """
            labels = { cluster = "eu1" };
            rule = {
                { match = "*growth__of_*", drop = true };
                { match = "*growth__lengths_bytes", buckets = { 4, 5 } };
                { match = "*growth__words", max_series = 1 };
                { match = "prosody_mod_c2s*", host = "nowhere.example", drop = true };
            };"""
        with growing(rules) as prosody:
            prosody.add_users(1)
            prosody.serves()
            say(prosody, ["one familyx three", "one"])
            samples = prosody.samples()
            self.assertEqual(words(samples, "words_total"), {"one": 2, "overflow": 2})
            self.assertNotIn("familyx", {name for name, _ in samples})
            self.assertTrue(all(dict(labels)["cluster"] == "eu1" for _, labels in samples))
            buckets = {dict(labels)["le"] for name, labels in samples if name == PREFIX + "lengths_bytes_bucket"}
            self.assertEqual(buckets, {"4", "5", "+Inf"})
            answer = prosody.shell('>require"core.statsmanager".get_metric_registry():explain("prosody_mod_metre_growth/words")')
            self.assertIn("max_series = 1    (rule 3)", answer)


class Command(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="metre-command-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.environment = dict(os.environ, **installed(directory.name))

    def metre(self, *arguments, cwd=None):
        """Runs the command; its status and what it prints."""
        script = self.directory / "metre"
        script.write_text('os.exit(require "metre.command".main(arg))\n')
        command = ["lua5.4", script, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, cwd=cwd)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_check_reads_what_prosody_reads(self):
        toml = self.directory / "metre.toml"
        config = self.directory / "prosody.cfg.lua"
        config.write_text('statistics = ":metre"\nstatistics_config = { config_file = "metre.toml" }\nVirtualHost "a"\n')
        toml.write_text("[limits]\nmax_series = 5\n")
        self.assertEqual(self.metre("check", config), (0, f"{config}: no mistakes found\n"))
        toml.write_text("[limits]\nmax_serie = 5\n\n[[rule]]\nmatch = 5\n")
        status, text = self.metre("check", config)
        self.assertEqual(status, 1)
        first, second = text.splitlines()
        self.assertTrue(first.startswith(f"{toml}, line 2: unknown key 'limits.max_serie' (given: the number 5); did you mean 'max_series'?"))
        self.assertTrue(second.startswith(f"{toml}, line 5: 'rule.1.match' is the number 5; allowed: a family's name on the page"))
        self.assertEqual(self.metre("check", toml), (status, text))
        config.write_text('statistics = "internal"\n')
        status, text = self.metre("check", config)
        self.assertEqual(status, 0)
        self.assertIn('note: statistics is "internal", so Prosody does not use metre', text)
        config.write_text("statistics = = 5\n")
        status, text = self.metre("check", config)
        self.assertEqual(status, 1)
        self.assertIn("prosody.cfg.lua", text)
        self.assertEqual(self.metre("check", self.directory / "none.lua")[0], 1)
        self.assertEqual(self.metre("check", self.directory / "none.toml")[0], 1)

    def test_explain_names_the_rule(self):
        toml = self.directory / "metre.toml"
        toml.write_text("[[rule]]\nmatch = '*'\nmax_series = 5\n\n[[rule]]\nmatch = 'x'\nhost = 'a'\ndrop = true\n")
        status, text = self.metre("explain", "--config", toml, "--type", "gauge", "x")
        self.assertEqual(status, 0)
        self.assertIn(f"max_series = 5    (rule 1, {toml}, line 1)\n", text)
        self.assertIn(f"where host is a: drop = true    (rule 2, {toml}, line 5)\n", text)
        status, text = self.metre("explain", "--config", toml, "--host", "a", "x")
        self.assertIn(f"drop = true    (rule 2, {toml}, line 5)\n", text)
        self.assertEqual(self.metre("explain", f"--config={toml}", "--type", "gauge", "x"), self.metre("explain", "--config", toml, "--type=gauge", "x"))
        self.assertEqual(
            self.metre("explain", "--config", toml, "--type", "Counter", "x"),
            (1, "metre: no type is called Counter; there are gauge, counter, histogram and summary\n"),
        )
        self.assertEqual(self.metre("explain", "--config", toml, "x*")[0], 1)

    def test_wrong_usage_is_answered_with_the_usage(self):
        for arguments in ((), ("explain",), ("explain", "--config"), ("explain", "a", "b"), ("check", "a", "b"), ("check", "--x"), ("x",)):
            status, text = self.metre(*arguments)
            self.assertEqual(status, 2, arguments)
            self.assertIn("metre check [FILE]", text)
            self.assertEqual(text.startswith("metre: "), arguments != (), text)
        self.assertEqual(self.metre("help")[0], 0)
        self.assertEqual(self.metre("check", "--help")[0], 0)

    def test_check_sees_what_keeps_prosody_from_using_metre(self):
        config = self.directory / "prosody.cfg.lua"
        config.write_text('statistics = "metre"\n')
        status, text = self.metre("check", config)
        self.assertEqual((status, text), (1, f"""{config}: 'statistics' is "metre"; did you mean ":metre"?\n"""))
        config.write_text('VirtualHost "a"\nstatistics = ":metre"\nstatistics_config = { rules = {} }\n')
        status, text = self.metre("check", config)
        self.assertEqual(status, 1)
        self.assertEqual(len(text.splitlines()), 2, text)
        self.assertIn("""'statistics' stands after the VirtualHost or Component "a", where it has no effect; move it above""", text)
        config.write_text('statistics = ":metre"\nstatistics_config = { rules = {} }\n')
        status, text = self.metre("check", config)
        self.assertTrue(text.startswith(f"{config}: statistics_config: unknown key 'rules'"), text)

    def test_check_reads_included_files_from_any_directory(self):
        (self.directory / "conf.d").mkdir()
        (self.directory / "conf.d" / "metre.cfg.lua").write_text('statistics = ":metre"\nstatistics_config = { config_file = "m.toml" }\n')
        (self.directory / "prosody.cfg.lua").write_text('Include "conf.d/*.cfg.lua"\n')
        (self.directory / "m.toml").write_text("[limits]\nmax_series = 0.5\n")
        for directory, name in ((self.directory, "prosody.cfg.lua"), (self.directory, "./prosody.cfg.lua"),
                                (self.directory / "conf.d", "../prosody.cfg.lua"), ("/", self.directory / "prosody.cfg.lua")):
            status, text = self.metre("check", name, cwd=directory)
            self.assertEqual(status, 1)
            self.assertIn("m.toml, line 2: 'limits.max_series' is the number 0.5; allowed: a whole number", text)

    def test_the_sample_is_right(self):
        self.assertEqual(self.metre("check", ROOT / "docs/metre.toml")[0], 0)


class WrongFile(unittest.TestCase):
    def test_prosody_runs_on_without_statistics(self):
        with tempfile.TemporaryDirectory() as directory:
            toml = pathlib.Path(directory) / "metre.toml"
            toml.write_text("[[rule]]\nmatch = 'x'\nidle_tll = 5\n")
            with Prosody(options=f'statistics_config = {{ config_file = "{toml}" }}') as prosody:
                prosody.start()
                [line] = [line for line in prosody.complaints() if "statistics provider" in line]
                self.assertIn(f"{toml}, line 3: unknown key 'rule.1.idle_tll' (given: the number 5); did you mean 'idle_ttl'?", line)


if __name__ == "__main__":
    unittest.main()
