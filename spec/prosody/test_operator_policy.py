"""Rules, labels and destinations: the operator pack's families are as a module's."""

import asyncio
import collections
import re
import unittest

from harness import HOST, Exporting, wait_for
from operator_clients import Stream
from operator_tools import FAMILIES, complaints, conversation, family_of, of_pack, run
from statsd_servers import Listener

CONNECTED, ONLINE = ("prosody_sessions", (("host", HOST), ("state", "connected"))), ("prosody_users_online", (("host", HOST),))


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

    def test_all_dropped_and_all_limited(self):
        for rule, most in (("drop = true", 0), ("max_series = 0", 1), ("max_series = 1", 2)):
            with Exporting(config=f'rule = {{ {{ match = "prosody_*", {rule} }} }};').serves() as prosody:
                prosody.add_users(2)
                asyncio.run(conversation(prosody))
                prosody.shell('host:activate("new.localhost", {})')
                prosody.shell('host:deactivate("new.localhost")')
                asyncio.run(conversation(prosody))
                series = collections.Counter(family_of(name) for name, labels in of_pack(prosody.samples())
                                             if not re.search("_(sum|bucket|created)$", name))
                self.assertEqual({name: count for name, count in series.items() if count > most}, {}, rule)
                # They are logged as of any module's families.
                self.assertEqual([line for line in complaints(prosody) if "beyond the max_series" not in line], [])

    def test_idle_gauges_of_sessions_come_back_as_they_are(self):
        with Exporting("collect_min_interval = 0;", config='rule = { { match = "prosody_*", type = "gauge", idle_ttl = 1 } };') as prosody:
            prosody.add_users(2)
            prosody.serves()
            clients = []

            def log_in(user):
                clients.append(Stream(prosody.c2s_port))
                clients[-1].log_in(user, f"number{len(clients)}")
            log_in("user1")
            wait_for("them to go", lambda: not {CONNECTED, ONLINE} & prosody.samples().keys())

            def come_back():
                """What is there after one more session, unless it has gone again on a busy machine."""
                log_in("user2")
                samples = prosody.samples()
                return {CONNECTED, ONLINE} <= samples.keys() and [samples[CONNECTED], samples[ONLINE]]
            self.assertEqual(wait_for("them to come back", come_back), [len(clients), 2])

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
            told = run(["promtool", "check", "metrics"], input=page)
            # 3 is for complaints.
            self.assertIn(told.returncode, (0, 3), told.stderr)
            complained = told.stdout + told.stderr
            self.assertEqual([line for line in complained.splitlines() if any(name in line for name in FAMILIES)], [])
