"""The operator pack as a whole: what is there, when it begins, what leaves it out, what becomes of a fault in it."""

import asyncio
import collections
import contextlib
import functools
import json
import re
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

from federation import Authority, Federating, Names
from harness import DEADLINE, HOST, ROOMS, ROOT, Client, Exporting, Prosody, chat, clients, wait_for
from statsd_servers import Listener

RUN = functools.partial(subprocess.run, capture_output=True, text=True, check=False, timeout=DEADLINE)
COMPONENT = f'Component "{ROOMS}"'


def families():
    """The pack's families by name: type, unit, help, labels."""
    program = """
        local function text(spec) return table.concat(spec.labels or {}, ",") end
        for name, spec in pairs(require "metre.operator.families") do
            print(table.concat({ name, spec.type, spec.unit or "", text(spec), spec.help }, "\\t"));
        end
    """
    lines = RUN(["lua5.4", "-e", program], env={"LUA_PATH": f"{ROOT}/lua/?.lua"}).stdout.splitlines()
    found = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert len(found) > 30, lines
    return found


FAMILIES = families()


def family_of(sample):
    """The pack's family that a sample is of, if it is one of the pack's."""
    short = re.sub("_(total|bucket|sum|count|created)$", "", sample)
    return next((name for name in (sample, short) if name in FAMILIES), None)


def of_pack(samples):
    return {key: value for key, value in samples.items() if family_of(key[0])}


def of_host(samples, host):
    return {key: value for key, value in of_pack(samples).items() if ("host", host) in key[1]}


def complaints(prosody):
    """But for what Prosody 13 says where modules with commands for its shell are loaded twice, and of our configuration."""
    return [line for line in prosody.complaints() if not re.search("is already registered - overwriting|Duplicate option", line)]


async def conversation(prosody, count=2):
    async with clients(prosody, count) as everyone:
        await chat(everyone)


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


def counts(samples):
    """What only adds up and doesn't depend on times or caches."""
    return {
        key: value for key, value in of_pack(samples).items()
        if re.search("_(total|count)$", key[0]) and not re.search("_storage_|_traffic_|_log_", key[0])
    }


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


class OnPort(Exporting):
    """One that may have no port for clients. `hosts` stand in place of the usual ones, `disabled` are modules that are."""

    def __init__(self, hosts=None, disabled=("tls",), **more):
        super().__init__(**more)
        text = self.config.read_text().replace('{ "s2s", "tls" }', "{ " + "".join(f'"{name}"; ' for name in disabled) + "}")
        if hosts is not None:
            text = text[:text.index(f'VirtualHost "{HOST}"')] + hosts
        self.config.write_text(text)

    def _serves(self):
        return "Serving metrics at" in self.log() or super()._serves()


SEVERAL = "".join(f'VirtualHost "{name}.localhost"\n' for name in "abcdefgh")


class Bound(unittest.TestCase):
    """How many lines the pack has on the page: at most 350 with one host and 90 for each further one."""

    def lines(self, hosts, number):
        modules = ["mam", "offline", "register_ibr", "pep", "vcard4", "blocklist", "private", "carbons", "bookmarks"]
        with OnPort(hosts, modules=modules).serves() as prosody:
            prosody.add_users(2)

            async def use():
                async with clients(prosody, 2) as everyone:
                    for client in everyone:
                        other = everyone[0].boundjid.full
                        client.register_plugin("xep_0060")
                        client.send_message(other, "hello", mtype="chat")
                        client.send_message("user1@nowhere.invalid", "hello", mtype="chat")
                        client.send_message(f"user2@{HOST}/away", "hello", mtype="normal")
                        for node in ("urn:example:node", "a", "b", "c" * 100):
                            await client["xep_0060"].publish(client.boundjid.bare, node, payload=ElementTree.Element("{x}y"))
                        await client["xep_0199"].ping(HOST)
            asyncio.run(use())
            most = 350 + 90 * (number - 1)
            found = of_pack(prosody.samples())
            self.assertLessEqual(len(found), most, sorted(found))
            # It isn't met by having nothing.
            self.assertGreater(len(found), 200)
            self.assertEqual(complaints(prosody), [])

    def test_one_host(self):
        self.lines(f'VirtualHost "{HOST}"', 1)

    def test_three_hosts(self):
        self.lines(f'VirtualHost "{HOST}"\nVirtualHost "a.localhost"\n{COMPONENT} "muc"', 3)

    def test_ten_hosts(self):
        self.lines(f'VirtualHost "{HOST}"\n{COMPONENT} "muc"\n{SEVERAL}', 10)


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


def breaking(after):
    """Configuration with which each function that the pack guards raises an error from a call on, and says which one it is."""
    return f"""
        do
            local G = Lua or require "_G"
            local name, guards = "metre.operator.pack", 0
            G.package.preload[name] = function ()
                G.package.preload[name] = nil
                local library = G.dofile(G.package.searchpath(name, G.package.path))
                return {{
                    new = function (...)
                        local pack = library.new(...)
                        local guard = pack.guard
                        function pack:guard(what, f)
                            guards = guards + 1
                            local id, calls = guards, 0
                            return guard(self, what, function (...)
                                calls = calls + 1
                                if calls > {after} then
                                    G.error("broken " .. id .. ".")
                                end
                                return f(...)
                            end)
                        end
                        return pack
                    end
                }}
            end
        end
    """


class Faults(unittest.TestCase):
    """Whatever fails in the pack, Prosody's users notice nothing, and its operator reads of each failure once."""

    def check(self, prosody, least):
        """There were at least so many faults, each is logged once and counted, and nothing else is wrong."""
        samples, log = prosody.samples(), prosody.log()
        faults = re.findall(r"metre\terror\tPlease report: metrics for operators miss what concerns (\S+) from now on: (.*)", log)
        broken = [text for _, text in faults if "broken" in text]
        self.assertGreaterEqual(len(broken), least)
        self.assertEqual(len(set(broken)), len(broken), "one line for each")
        counted = {dict(labels)["at"]: value for (name, labels), value in samples.items() if name == "metre_internal_errors_total"}
        for what in {what for what, _ in faults}:
            self.assertEqual(counted[f"operator.{what}"], [key for key, _ in faults].count(what), what)
        others = [line for line in complaints(prosody) if "metrics for operators" not in line]
        self.assertEqual(others, [])

    def use(self, after):
        modules = ["mam", "offline", "register_ibr", "pep", "carbons", "blocklist"]
        with OnPort(options=breaking(after), modules=modules).serves() as prosody:
            prosody.add_users(3)
            # More often than needed for all to fail that is called now and then.
            for _ in range(after + 2):
                asyncio.run(conversation(prosody, 3))
                prosody.samples()
            prosody.reload()
            prosody.shell('host:activate("new.localhost", {})')
            prosody.shell(f"module:reload('muc', '{ROOMS}')")
            prosody.shell('host:deactivate("new.localhost")')
            asyncio.run(conversation(prosody, 3))
            self.check(prosody, 25)

    def test_all_fail_at_once(self):
        self.use(0)

    def test_all_fail_later(self):
        self.use(1)

    def test_federation(self):
        with contextlib.ExitStack() as stack:
            names = Names()
            stack.callback(names.close)
            authority = Authority()
            stack.callback(authority.close)
            domains = ("a.example", "b.example")
            for domain in domains:
                authority.make(domain)
            servers = [stack.enter_context(Federating(names, {domain: authority.options(domain)}, breaking(0))) for domain in domains]
            for server in servers:
                server.serves()

            async def talk():
                users = [Client("user1", server.c2s_port, host=domain) for server, domain in zip(servers, domains)]
                for user in users:
                    await user.log_in()
                for user, other in (users, reversed(users)):
                    user.send_message(other.boundjid.full, "hello", mtype="chat")
                    await other.hears("hello")
                for user in users:
                    await user.log_out()
            asyncio.run(talk())
            for server in servers:
                self.check(server, 20)


class Everywhere(unittest.TestCase):
    """The pack's families are as a module's: rules and labels hold for them, and they go where a module's go."""

    def test_rules_and_labels(self):
        config = """
            labels = { cluster = "eu" };
            rule = {
                { match = "prosody_c2s_auth_attempts", drop = true };
                { match = "prosody_c2s_auth_duration_seconds", buckets = { 0.25, 100 } };
                { match = "prosody_storage_*", max_series = 2 };
                { match = "prosody_stanzas", max_series = 5 };
            };
        """
        with Exporting(config=config).serves() as prosody:
            prosody.add_users(2)
            asyncio.run(conversation(prosody))
            found = of_pack(prosody.samples())
            self.assertTrue(all(("cluster", "eu") in labels for _, labels in found))
            of_family = collections.defaultdict(dict)
            for (name, labels), value in found.items():
                of_family[family_of(name)][name, labels] = value
            self.assertEqual(of_family["prosody_c2s_auth_attempts"], {})
            buckets = {dict(labels)["le"] for name, labels in of_family["prosody_c2s_auth_duration_seconds"] if name.endswith("bucket")}
            self.assertEqual(buckets, {"0.25", "100", "+Inf"})
            self.assertEqual(sum(value for (name, _), value in of_family["prosody_c2s_auth_duration_seconds"].items()
                                 if name.endswith("_count")), 2)
            # With the one for all others.
            self.assertLessEqual(len(of_family["prosody_stanzas"]), 6)
            stores = [key for key in of_family["prosody_storage_operation_duration_seconds"] if key[0].endswith("_count")]
            self.assertLessEqual(len(stores), 3)
            # What a rule does is logged, and nothing else.
            others = [line for line in complaints(prosody) if "max_series" not in line]
            self.assertEqual(others, [])
            explained = prosody.shell('> require "core.statsmanager".get_metric_registry():explain("prosody_c2s_auth_duration_seconds")')
            self.assertRegex(explained, "buckets.*0.25")

    def test_statsd_and_registry(self):
        listening = Listener()
        with listening, Exporting(config=f'statsd = {{ server = "127.0.0.1:{listening.port}"; flush_interval = 0.2 }};').serves() as prosody:
            prosody.add_users(2)
            asyncio.run(conversation(prosody))
            prosody.samples()
            # The names of statsd hold what a page has as labels.
            wait_for("logins at statsd", lambda: any("prosody_c2s_auth_attempts" in name and "success" in name and value == 2
                                                     for name, value in listening.counters.items()))
            wait_for("the heap", lambda: any("prosody_lua_heap_bytes" in name for name in listening.gauges))
            self.assertEqual(listening.bad, [])
            listed = prosody.shell('> require "util.serialization".serialize(require "util.iterators".to_array(require "util.iterators".keys('
                                   'require "core.statsmanager".get_metric_registry().families)))')
            self.assertIn("prosody_c2s_auth_attempts", listed)
            self.assertIn("prosody_storage_operation_duration_seconds", listed)
            self.assertEqual(complaints(prosody), [])

    def test_promtool_has_no_complaint(self):
        with Exporting().serves() as prosody:
            prosody.add_users(2)
            asyncio.run(conversation(prosody))
            page = prosody.get(headers={})[2].decode()
            self.assertIn("prosody_c2s_auth_attempts_total", page)
            told = RUN(["promtool", "check", "metrics"], input=page)
            # 3 is for complaints.
            self.assertIn(told.returncode, (0, 3), told.stderr)
            complained = told.stdout + told.stderr
            self.assertEqual([line for line in complained.splitlines() if any(name in line for name in FAMILIES)], [])
