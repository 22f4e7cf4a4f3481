"""The operator pack as a whole: what leaves it out, and what it lives through."""

import asyncio
import json
import re
import unittest

from harness import DEADLINE, HOST, ROOMS, Client, Exporting, Prosody, chat, wait_for
from operator_tools import COMPONENT, OnPort, complaints, conversation, counts, family_of, of_host, of_pack


def hooks(prosody):
    """What mod_metre_hooks tells of a running Prosody."""
    told = prosody.directory / "hooks"
    prosody.shell(f"""> require "core.modulemanager".get_module("*", "metre_hooks").tell("{told}")""")
    return json.loads(told.read_text())


class Basics(unittest.TestCase):
    def test_what_is_always_there(self):
        with Exporting().serves(daemonize=True) as prosody:
            samples = prosody.samples()
            self.assertGreater(samples["prosody_start_time_seconds", ()], 1.7e9)
            self.assertGreater(samples["prosody_lua_heap_bytes", ()], 1e6)
            self.assertEqual(samples["prosody_config_reloads_total", ()], 0)
            prosody.reload()
            wait_for("the reload", lambda: prosody.samples()["prosody_config_reloads_total", ()] == 1)
            self.assertEqual(complaints(prosody), [])


class LeftOut(unittest.TestCase):
    """With `operator = false` nothing hangs on Prosody that doesn't without metre, but what starts, stops and tells threads."""

    def look(self, prosody):
        with prosody:
            prosody.start()
            return hooks(prosody)

    def test_nothing_is_hooked(self):
        modules = ["metre_hooks"]
        never = self.look(Prosody("internal", 'statistics_interval = "manual"', modules=modules))
        off = self.look(Exporting(config="operator = false", modules=modules))
        on = self.look(Exporting(modules=modules))
        self.assertGreater(len(never), 500)

        def differences(more, less):
            return {place for place in set(more) | set(less) if more.get(place) != less.get(place)
                    and not re.search(r"^loaded metre|util\.statistics", place)}
        lifecycle = {"server-started", "openmetrics-updated", "server-stopped"}
        self.assertEqual(differences(off, never), lifecycle)
        for place in lifecycle:
            self.assertEqual(off[place].count("metre/lifecycle.lua"), 1)
        self.assertEqual([place for place in off if place.startswith("loaded metre.operator.")], [])
        self.assertEqual([place for place, files in off.items() if any("metre/operator" in file for file in files)], [])
        # The look finds what there is to find.
        there = differences(on, off)
        self.assertLessEqual({"server-starting", "host-activated", "host-deactivated", "stats-update", "config-reloaded"}, there)

    def test_nothing_in_prosodyctl(self):
        with Exporting(modules=["metre_hooks"]) as prosody:
            told = prosody.directory / "hooks"
            prosody.ctl("mod_metre_hooks", str(told))
            found = json.loads(told.read_text())
            # The provider is there.
            self.assertIn("loaded metre", found)
            self.assertEqual([place for place, files in found.items() if any(file.startswith("metre/") for file in files)
                              and not place.startswith("loaded ")], [])
            self.assertEqual([place for place in found if place.startswith("loaded metre.operator.")], [])

    def test_nothing_is_on_the_page(self):
        with Exporting(config="operator = false").serves() as prosody:
            core = {"prosody_info", "prosody_dns_seconds"}
            self.assertEqual({family_of(name) for name, _ in of_pack(prosody.samples())} - core, set())
            self.assertEqual(complaints(prosody), [])


def increases(before, after):
    return {key: value - before.get(key, 0) for key, value in counts(after).items() if value != before.get(key, 0)}


class Reloads(unittest.TestCase):
    def test_modules_are_reloaded(self):
        with Exporting(modules=["mam", "offline"]).serves() as prosody:
            prosody.add_users(2)

            def look():
                prosody.page()  # Has Prosody collect; stanzas may wait for that.
                return prosody.samples()

            def talk():
                before = counts(look())
                asyncio.run(conversation(prosody))
                return increases(before, look())
            talk()
            expected = talk()
            for module in ("c2s", "saslauth", "smacks", "mam", "offline", "roster", "presence", "message"):
                prosody.shell(f"module:reload('{module}')")
            prosody.shell(f"module:reload('storage_internal', '{HOST}')")
            # With the room in it.
            prosody.shell(f"module:reload('muc', '{ROOMS}')")
            self.assertEqual(talk(), expected)
            prosody.reload()
            wait_for("the reload", lambda: prosody.samples()["prosody_config_reloads_total", ()] == 1)
            self.assertEqual(talk(), expected)
            self.assertEqual(complaints(prosody), [])


class Hosts(unittest.TestCase):
    def test_hosts_come_and_go(self):
        with Exporting(modules=["mam", "offline"]).serves() as prosody:
            prosody.add_users(2)
            steady = {key for key in of_pack(prosody.samples()) if "host" not in dict(key[1])}
            fresh = of_host(prosody.samples(), HOST)
            self.assertGreater(len(fresh), 10)
            self.assertEqual(of_host(prosody.samples(), "new.localhost"), {})
            for _ in range(2):
                prosody.shell('host:activate("new.localhost", {})')
                came = of_host(prosody.samples(), "new.localhost")
                self.assertGreater(len(came), 10)
                self.assertLessEqual(len(came), 90)
                # What is counted begins at zero.
                self.assertEqual({key: value for key, value in counts(came).items() if value}, {})
                prosody.shell('host:deactivate("new.localhost")')
                self.assertEqual(of_host(prosody.samples(), "new.localhost"), {})

            async def with_clients():
                everyone = [Client(f"user{number}", prosody.c2s_port) for number in (1, 2)]
                for client in everyone:
                    await client.log_in()
                await chat(everyone)
                used = counts(of_host(prosody.samples(), HOST))
                self.assertGreater(sum(used.values()), 0)
                gone = [client.wait_until("disconnected", DEADLINE) for client in everyone]
                closing = asyncio.get_running_loop().run_in_executor(None, prosody.shell, f'host:deactivate("{HOST}")')
                await asyncio.gather(closing, *gone)
            asyncio.run(with_clients())
            samples = prosody.samples()
            self.assertEqual(of_host(samples, HOST), {})
            self.assertNotEqual(of_host(samples, ROOMS), {})
            prosody.shell(f'host:activate("{HOST}")')
            back = of_host(prosody.samples(), HOST)
            self.assertEqual(set(fresh) - set(back), set())
            self.assertEqual({key: value for key, value in counts(back).items() if value}, {})
            asyncio.run(conversation(prosody))
            self.assertGreater(sum(counts(of_host(prosody.samples(), HOST)).values()), 0)
            self.assertLessEqual(steady, set(prosody.samples()))
            self.assertEqual(complaints(prosody), [])


class Variants(unittest.TestCase):
    """Prosodys that lack something or have something else; what is there works, and nobody complains."""

    def start(self, check, **more):
        with OnPort(**more).serves() as prosody:
            self.assertGreater(len(of_pack(prosody.samples())), 100)
            check(prosody)
            prosody.samples()
            prosody.stop()
            self.assertEqual(complaints(prosody), [])

    def test_without_clients(self):
        off = ("c2s", "s2s", "tls", "saslauth")
        self.start(lambda _: None, disabled=off)
        # Prosody wants a VirtualHost.
        self.start(lambda _: None, disabled=off, hosts=f'VirtualHost "x"\n{COMPONENT} "muc"\nComponent "bridge.localhost"\ncomponent_secret = "x"')

    def test_with_servers_bosh_and_websocket(self):
        def check(prosody):
            prosody.add_users(2)
            asyncio.run(conversation(prosody))
        self.start(check, modules=["bosh", "websocket", "http_file_share", "mam"])
