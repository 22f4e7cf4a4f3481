"""Rooms, modules, components, registrations, push notifications and the log, as the operator pack counts them."""

import re
import unittest

from harness import HOST, ROOMS, ROOT, VERSION, Exporting, free_port, wait_for
from operator_clients import Stream
from operator_servers import SECRET, Collected, Component

EXTERNAL = f"external.{HOST}"


class Machinery(unittest.TestCase):
    def test_modules_components_and_the_log(self):
        port = free_port()
        external = f"component_ports = {{ {port} }}\nComponent '{EXTERNAL}'\ncomponent_secret = '{SECRET}'"
        with Exporting(options=external).serves() as prosody:
            moves = Collected(prosody, "modules", "component_connected", "log_messages")
            samples = prosody.samples()
            for host in ("*", HOST, ROOMS, EXTERNAL):
                self.assertGreater(samples["prosody_modules", (("host", host), ("status", "ok"))], 0)
                self.assertEqual(samples["prosody_modules", (("host", host), ("status", "error"))], 0)
            # A component that waits for its connection says so.
            self.assertEqual(samples["prosody_component_connected", (("host", EXTERNAL),)], 0)
            self.assertNotIn(("prosody_component_connected", (("host", ROOMS),)), samples)
            self.assertEqual(samples["prosody_modules", (("host", EXTERNAL), ("status", "warn"))], 0)

            component = Component(port, EXTERNAL)
            moves.expect({f"component_connected{{{EXTERNAL}}}": 1})
            component.close()
            warned = {f"modules{{{EXTERNAL},ok}}": -1, f"modules{{{EXTERNAL},warn}}": 1}
            moves.expect({f"component_connected{{{EXTERNAL}}}": -1, **warned})
            component = Component(port, EXTERNAL)
            moves.expect({f"component_connected{{{EXTERNAL}}}": 1, **{name: -number for name, number in warned.items()}})
            component.drop(reset=True)
            moves.expect({f"component_connected{{{EXTERNAL}}}": -1, **warned})

            status = f"prosody.hosts['{HOST}'].modules.{{}}.module:set_status('{{}}', 'why')"
            prosody.shell("> " + status.format("ping", "error") + "; " + status.format("iq", "warn") + "; " + status.format("disco", "info"))
            moves.expect({"modules{ok}": -2, "modules{warn}": 1, "modules{error}": 1})
            prosody.shell(f"module:reload('ping', '{HOST}')")
            moves.expect({"modules{ok}": 1, "modules{error}": -1})
            prosody.shell(f"module:unload('ping', '{HOST}')")
            moves.expect({"modules{ok}": -1})
            # Not to be found, which Prosody logs.
            prosody.shell(f"> local _ = require 'core.modulemanager'.load('{HOST}', 'no_such_module')")
            moves.expect({"modules{error}": 1, "log_messages_total{error}": 1})
            prosody.shell(f"module:load('ping', '{HOST}')")
            moves.expect({"modules{ok}": 1})
            # On no host.
            prosody.shell("> require 'core.modulemanager'.get_module('*', 'http').module:set_status('warn', 'why')")
            moves.expect({"modules{*,ok}": -1, "modules{*,warn}": 1})

            log = "> for level in ('{}'):gmatch('%S+') do require 'util.logger'.init('test')(level, '%s', 'text') end"
            prosody.shell(log.format("debug info warn error"))
            moves.expect({"log_messages_total{warn}": 1, "log_messages_total{error}": 1})
            # Prosody has new sinks then.
            prosody.shell("config:reload()")
            moves.expect({})
            prosody.shell(log.format("warn"))
            moves.expect({"log_messages_total{warn}": 1})
            # metre's own.
            prosody.shell("> require 'metre.log'('error', 'text')")
            moves.expect({"log_messages_total{error}": 1})


class Rooms(unittest.TestCase):
    def presence(self, client, room, nick="", attributes="", join=True):
        x = "<x xmlns='http://jabber.org/protocol/muc'/>" if join else ""
        client.send(f"<presence to='{room}@{ROOMS}/{nick}' {attributes}>{x}</presence>")

    def test_who_comes_and_goes(self):
        with Exporting(options="muc_room_cache_size = 3") as prosody:
            prosody.add_users(3)
            prosody.serves()
            first, second, third = (Stream(prosody.c2s_port) for _ in range(3))
            first.log_in("user1", "one")
            second.log_in("user1", "two")
            third.log_in("user2")
            moves = Collected(prosody, "muc")

            def expect(rooms=0, occupants=0, joins=0):
                moved = {f"muc_rooms{{{ROOMS}}}": rooms, f"muc_occupants{{{ROOMS}}}": occupants, f"muc_joins_total{{{ROOMS}}}": joins}
                moves.expect({name: number for name, number in moved.items() if number})
            self.presence(first, "a", "nick")
            expect(rooms=1, occupants=1, joins=1)
            # Another session of the same occupant, another occupant, and one that is refused.
            self.presence(second, "a", "nick")
            second.hear("code='110'")
            expect()
            self.presence(third, "a", "nick")
            third.hear("<conflict")
            expect()
            self.presence(third, "a", "other")
            expect(occupants=1, joins=1)
            self.presence(third, "a", "renamed", join=False)
            third.hear("code='303'")
            third.hear("code='110'")
            expect()
            first.send(f"<message to='a@{ROOMS}' type='groupchat'><body>hello</body></message>")
            third.hear("hello")
            expect()
            self.presence(second, "a", "nick", "type='unavailable'")
            second.hear("type='unavailable'")
            expect()
            # Without a word.
            third.drop(reset=True)
            expect(occupants=-1)
            third = Stream(prosody.c2s_port)
            third.log_in("user2")
            self.presence(third, "a", "other")
            expect(occupants=1, joins=1)
            first.send(f"<iq to='a@{ROOMS}' type='set' id='k'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='other' role='none'/>"
                       "</query></iq>")
            third.hear("code='307'")
            expect(occupants=-1)
            self.presence(first, "b", "nick")
            first.hear(f"from='b@{ROOMS}/nick'")
            self.presence(third, "b", "other")
            self.presence(third, "b", "other", "type='unavailable'")
            self.presence(third, "b", "other")
            expect(rooms=1, occupants=2, joins=3)
            # All of it goes, and what is used comes back as it was.
            prosody.shell(f"module:reload('muc', '{ROOMS}')")
            expect(rooms=-2)
            first.send(f"<message to='b@{ROOMS}' type='groupchat'><body>back</body></message>")
            third.hear("back")
            expect(rooms=1)
            self.presence(third, "b", "other", "type='unavailable'")
            expect(occupants=-1)
            first.send(f"<iq to='b@{ROOMS}' type='set' id='d'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>")
            first.hear("id='d'")
            expect(rooms=-1, occupants=-1)
            # More than fit into memory: those that are not there keep their occupants.
            for room in "cdefg":
                self.presence(first, room, "nick")
                first.hear("code='110'")
            expect(rooms=3, occupants=5, joins=5)
            for room in "cdefg":
                self.presence(first, room, "nick", "type='unavailable'")
            expect(rooms=-3, occupants=-5)
            # One room is left, with one occupant.
            prosody.shell(f"module:unload('muc', '{ROOMS}')")
            expect(occupants=-1)


class Registrations(unittest.TestCase):
    def test_a_flood_of_them(self):
        throttle = "allow_registration = true; registration_throttle_max = 2; registration_throttle_period = 3600; registration_allowlist = {}"
        with Exporting(modules=("register_ibr", "register_limits"), options=throttle).serves() as prosody:
            moves = Collected(prosody, "user_registrations", "stanza_errors")
            client = Stream(prosody.c2s_port)
            client.open()

            def register(number, answer):
                client.ask(f"<iq type='set' id='r{number}'><query xmlns='jabber:iq:register'><username>name{number}</username>"
                           "<password>secret</password></query></iq>", answer)
            for number in range(2):
                register(number, "type='result'")
                moves.expect({"user_registrations_total{true}": 1})
            for number in range(2, 5):
                register(number, "<policy-violation")
            moves.expect({"user_registrations_total{false}": 3, "stanza_errors_total{policy-violation,iq}": 3})
            # By an administrator, which isn't one.
            prosody.shell(f"user:create('another@{HOST}', 'secret')")
            moves.expect({})


class Push(unittest.TestCase):
    def test_what_is_sent_and_answered(self):
        port = free_port()
        external = f"component_ports = {{ {port} }}\nComponent '{EXTERNAL}'\ncomponent_secret = '{SECRET}'"
        # Prosody has it since 13.
        own = () if VERSION >= 13 else (ROOT / "spec/prosody/modules/push",)
        with Exporting(modules=("cloud_notify",), options=external, plugin_paths=own) as prosody:
            prosody.add_users(2)
            prosody.serves()
            moves = Collected(prosody, "push_notifications")
            sleeper, talker, service = Stream(prosody.c2s_port), Stream(prosody.c2s_port), Component(port, EXTERNAL)
            sleeper.log_in("user1")
            talker.log_in("user2")
            sleeper.ask(f"<iq type='set' id='p'><enable xmlns='urn:xmpp:push:0' jid='{EXTERNAL}' node='n'/></iq>", "id='p'")
            sleeper.close()
            moves.expect({})

            def push():
                talker.send(f"<message to='user1@{HOST}' type='chat'><body>wake up</body></message>")
                return re.search(r"\sid='([^']+)'", service.hear("<iq (?=[^>]*type='set')[^>]*>")[0])[1]
            answer = f"<iq from='{{}}' to='{HOST}' id='{{}}' type='{{}}'>{{}}</iq>"
            number = push()
            moves.expect({"push_notifications_total{sent}": 1})
            # Neither an answer nor from whom it was sent to.
            service.send(answer.format(EXTERNAL, number, "get", "<ping xmlns='urn:xmpp:ping'/>"))
            service.send(answer.format(f"other@{EXTERNAL}", number, "result", ""))
            service.send(answer.format(EXTERNAL, "unknown", "result", ""))
            service.send(answer.format(EXTERNAL, number, "result", "") * 2)
            moves.expect({"push_notifications_total{ok}": 1})
            service.send(answer.format(EXTERNAL, push(), "error", "<error type='cancel'/>"))
            moves.expect({"push_notifications_total{sent}": 1, "push_notifications_total{error}": 1})
            service.close()
            wait_for("its end", lambda: prosody.samples()["prosody_component_connected", (("host", EXTERNAL),)] == 0)
            talker.send(f"<message to='user1@{HOST}' type='chat'><body>wake up</body></message>")
            moves.expect({"push_notifications_total{sent}": 1, "push_notifications_total{error}": 1})
