"""metre in a real Prosody: what an operator does with it, and what they see."""

import asyncio
import re
import unittest

from harness import HOST, ROOMS, Client, Prometheus, Prosody, chat, clients, parse, wait_for


async def conversation(prosody, count=3):
    async with clients(prosody, count) as everyone:
        await chat(everyone)


class WithInternalAsOracle(unittest.TestCase):
    def observe(self, statistics):
        """What a Prosody with this provider shows after the same conversation."""
        with Prosody(statistics, 'statistics_interval = "manual"', modules=["metre_probe"]) as prosody:
            prosody.add_users(3)
            prosody.start()
            asyncio.run(conversation(prosody))
            page = prosody.page()
            shell = {
                command: prosody.shell(f"stats:{command}")
                for command in (
                    "show('mod_c2s')", "show('probe')", "show('histogram'):histogram()", "show('sizes'):cfgraph()",
                )
            }
            return page, shell

    def test_same_names_values_and_shell(self):
        own_page, own_shell = self.observe("internal")
        page, shell = self.observe(":metre")
        # Prosody's own page isn't valid (empty UNIT lines), so its samples are taken out by hand.
        own = dict(re.findall(r"^([^# ][^ ]*|[^#{]*\{.*\}) (\S+)$", own_page, re.M))
        ours = dict(re.findall(r"^([^# ][^ ]*|[^#{]*\{.*\}) (\S+)$", page, re.M))
        self.assertGreater(len(own), 100)
        self.assertEqual(set(own) - set(ours), set())
        # Beside metre's own and the process's there are those for operators.
        further = "metre_|process_|prosody_(?!mod_|stats_)"
        self.assertEqual([line for line in set(ours) - set(own) if not re.match(further, line)], [])
        steady = [line for line in own if "_created" not in line and "seconds" not in line]
        self.assertGreater(len(steady), 50)
        for line in steady:
            self.assertEqual(float(own[line]), float(ours[line]), line)
        parse(page)
        for command in shell:
            # Rates and times differ from run to run; what stands where doesn't.
            def shape(text):
                # Whether a time is in seconds or in millionths of one differs, too; Prosody writes U+03BC there.
                return sorted(re.sub(r"[0-9.]+ ?[a-z\u00b5\u03bc%/]*|[▁▂▃▄▅▆▇█-]+", "#", line).strip() for line in text.splitlines())
            self.assertEqual(shape(own_shell[command]), shape(shell[command]), command)


class Operation(unittest.TestCase):
    def test_foreground_with_clients_and_reloads(self):
        with Prosody(options="statistics_interval = 1", modules=["metre_probe"]) as prosody:
            prosody.add_users(4)
            prosody.start()

            async def use():
                async with clients(prosody, 4) as everyone:
                    await chat(everyone)
                    connected = ("prosody_mod_c2s__connections", (("host", HOST), ("ip_family", "ipv4"), ("type", "c2s")))
                    wait_for("the collection", lambda: parse(prosody.page()).get(connected) == 4)
            asyncio.run(use())
            samples = parse(prosody.page())
            rooms = (("host", ROOMS),)
            self.assertGreater(samples[("prosody_mod_muc__room_hit_total", rooms)], 0)
            wait_for("the probe", lambda: "Probe has read" in prosody.log())
            samples = parse(prosody.page())
            host = (("host", HOST),)
            for name, value in {
                "amount_bytes": 4096, "counter_total": 2, "rate_total": 1, "times_seconds_count": 1,
                "sizes_bytes_sum": 2000, "distribution_items_sum": 3,
            }.items():
                self.assertEqual(samples[("prosody_mod_metre_probe__" + name, host)], value, name)
            kind = (("host", HOST), ("kind", "a"))
            for name, value in {
                "gauge": 1.5, "tally_total": 2, "histogram_seconds_sum": 0.5, "summary_bytes_count": 1,
            }.items():
                self.assertEqual(samples[("prosody_mod_metre_probe__" + name, kind)], value, name)

            # A reload registers everything again: same families, values kept; module:measure sets its counters to 0.
            prosody.shell(f"module:reload('metre_probe', '{HOST}')")
            probed = f"{HOST}:metre_probe\tinfo\tProbe has read"
            wait_for("the second probe", lambda: prosody.log().count(probed) == 2)
            samples = parse(prosody.page())
            self.assertEqual(samples[("prosody_mod_metre_probe__tally_total", kind)], 4)
            self.assertEqual(samples[("prosody_mod_metre_probe__counter_total", host)], 2)
            for module in ("c2s", "csi_simple", "smacks"):
                prosody.shell(f"module:reload('{module}')")
            parse(prosody.page())
            self.assertLess(prosody.stop(), 10)
            self.assertEqual(prosody.process.returncode, 0)
            self.assertEqual(prosody.complaints(), [])

    def test_daemonized(self):
        with Prosody(options="statistics_interval = 1") as prosody:
            prosody.add_users(2)
            prosody.start(daemonize=True)
            self.assertNotEqual(prosody.pid, prosody.process.pid)
            asyncio.run(conversation(prosody, 2))
            collections = ("prosody_stats_collection_seconds_count", ())
            first = parse(prosody.page())[collections]
            wait_for("further collections", lambda: parse(prosody.page())[collections] > first + 1)
            self.assertIn("statistics displayed", prosody.shell("stats:show()"))
            self.assertLess(prosody.stop(), 10)
            self.assertFalse(prosody.pidfile.exists())
            self.assertIn("Shutdown complete", prosody.log())
            self.assertEqual(prosody.complaints(), [])

    def test_prosodyctl(self):
        with Prosody() as prosody:
            # `adduser` asks the running Prosody from 13 on; this does it by itself.
            prosody.ctl("register", "somebody", HOST, "secret")
            self.assertTrue((prosody.directory / f"data/{HOST}/accounts/somebody.dat").exists())

    def test_prometheus_scrapes(self):
        with Prosody(options="statistics_interval = 1", modules=["metre_probe"]) as prosody:
            prosody.add_users(2)
            prosody.start()
            with Prometheus(prosody.url) as prometheus:
                target = prometheus.target()
                self.assertEqual((target["health"], target["lastError"]), ("up", ""))
                self.assertEqual(prometheus.query("prosody_mod_metre_probe__counter_total"), 2)
                self.assertEqual(prometheus.query('prosody_mod_metre_probe__sizes_bytes_bucket{le="4096"}'), 1)
                kinds = prometheus.ask("metadata?metric=prosody_mod_metre_probe__sizes_bytes")
                self.assertEqual(kinds["prosody_mod_metre_probe__sizes_bytes"][0]["type"], "histogram")

                async def use():
                    async with clients(prosody, 2):
                        def connected():
                            value = prometheus.query("sum(prosody_mod_c2s__connections)")
                            return value == 2
                        wait_for("two connections in Prometheus", connected)
                asyncio.run(use())

    def test_hostile_module_and_clients(self):
        with Prosody(options="statistics_interval = 1", modules=["metre_hostile"]) as prosody:
            prosody.add_users(1)
            prosody.start()

            async def bind(resource):
                client = Client("user1", prosody.c2s_port, resource)
                await client.log_in()
                await client.log_out()
            for resource in ('a"b\\', "x y{z}=1", "ü" * 200, "__name__", "le", "0", "# EOF", "prosody", "a.b", "a_b"):
                asyncio.run(bind(resource))
            collections = ("prosody_stats_collection_seconds_count", ())
            before = parse(prosody.page())[collections]
            wait_for("two more collections", lambda: parse(prosody.page())[collections] > before + 1)
            page = prosody.page()
            self.assertIn(r'resource="a\"b\\"', page)
            self.assertEqual(parse(page)[("prosody_mod_metre_hostile__odd_counter_total", (("host", HOST),))], 0)
            with Prometheus(prosody.url) as prometheus:
                target = prometheus.target()
                self.assertEqual((target["health"], target["lastError"]), ("up", ""))
            warnings = re.findall(r"metre\twarn\t(.*)", prosody.log())
            self.assertTrue(warnings)
            self.assertEqual(len(warnings), len(set(warnings)), "one line a metric")
            prosody.stop()
            self.assertEqual([line for line in prosody.complaints() if "\terror\t" in line], [])


class Configuration(unittest.TestCase):
    def test_a_mistake_is_logged_and_prosody_runs(self):
        with Prosody(options='statistics_config = { openmetrics = { creatd = false } }') as prosody:
            prosody.start()
            self.assertIn("unknown key 'openmetrics.creatd'", prosody.log())
            self.assertIn("did you mean 'created'?", prosody.log())
            self.assertIn("Error loading statistics provider 'metre'", prosody.log())

    def test_file_beside_prosodys_own(self):
        with Prosody(options='statistics_config = { config_file = "metre.toml" }') as prosody:
            (prosody.directory / "metre.toml").write_text("[openmetrics]\ncreated = false\n")
            prosody.start()
            page = prosody.page()
            self.assertNotIn("_created", page)
            self.assertTrue(parse(page))

    def test_module_is_found_without_cpath(self):
        # Prosody 0.12 sets package.cpath wrongly for what `prosodyctl install` installs.
        with Prosody(lua_cpath=False) as prosody:
            prosody.start()
            self.assertTrue(parse(prosody.page()))


if __name__ == "__main__":
    unittest.main()
