"""Storage in the operator pack: how long its operations take, which ones fail, and what is stored."""

import asyncio
import re
import time
import unittest
import xml.etree.ElementTree as ET

from harness import DEADLINE, HOST, PASSWORD, ROOMS, VERSION, Client, Exporting, clients, wait_for

COUNT, SUM = "prosody_storage_operation_duration_seconds_count", "prosody_storage_operation_duration_seconds_sum"
ERRORS = "prosody_storage_operation_errors_total"
OFFLINE, ARCHIVE = "prosody_offline_messages_total", "prosody_archive_messages_total"
USERS, ACTIVE = "prosody_users_registered", "prosody_active_users"
# What Prosody does by itself, whenever it is due, is in there.
UNTOLD = "other"


def stored(prosody):
    """What these metrics count, as {(name, values of labels…): value}."""
    return {
        (name, *(value for _, value in labels)): value for (name, labels), value in prosody.samples().items()
        if name in (COUNT, ERRORS, OFFLINE, ARCHIVE, USERS, ACTIVE) and dict(labels).get("store") != UNTOLD
    }


class Watch:
    """What moves: Watch(prosody).moved() is what is different by now, and begins anew."""

    def __init__(self, prosody):
        self.prosody, self.before = prosody, stored(prosody)

    def moved(self):
        before, self.before = self.before, stored(self.prosody)
        moved = {key: value - before.get(key, 0) for key, value in self.before.items() if value != before.get(key, 0)}
        return moved | {key: None for key in before if key not in self.before}


def lua(prosody, expression):
    """The value of an expression, in Prosody."""
    return prosody.shell("> " + expression)


def operate(store, what, typ="keyval", host=HOST):
    """An expression that asks a store, as a module does it."""
    return f'require "core.storagemanager".open("{host}", "{store}", "{typ}"):{what}'


def iq(client, kind, element, to=None):
    stanza = client.make_iq(ito=to, itype=kind)
    stanza.append(element)
    return stanza.send(timeout=DEADLINE)


async def synchronize(client):
    """Whatever the client has sent has been handled."""
    await client["xep_0199"].send_ping(HOST, timeout=DEADLINE)


def publish(node):
    pubsub = ET.Element("{http://jabber.org/protocol/pubsub}pubsub")
    item = ET.SubElement(ET.SubElement(pubsub, "{http://jabber.org/protocol/pubsub}publish", node=node),
                         "{http://jabber.org/protocol/pubsub}item", id="one")
    ET.SubElement(item, "{urn:example}thing")
    return pubsub


class Stores(unittest.TestCase):
    """Prosody's internal storage, and drivers that fail and that take their time."""

    OPTIONS = """
        storage = { private = "metre_failing"; vcard = "metre_slow" }
        VirtualHost "second.localhost"
    """

    def test_stores(self):
        with Exporting(options=self.OPTIONS, modules=["private", "vcard", "pep"]) as prosody:
            prosody.add_users(2)
            prosody.serves()
            asyncio.run(self.with_clients(prosody))
            self.in_the_shell(prosody)
            self.hosts_and_modules(prosody)
            # mod_pep of 13 says the latter for each host.
            ours = re.compile("is on fire|already registered")
            self.assertEqual([line for line in prosody.complaints() if not ours.search(line)], [])

    async def with_clients(self, prosody):
        watch = Watch(prosody)
        async with clients(prosody, 2) as (romeo, juliet):
            await synchronize(romeo)
            await synchronize(juliet)
            moved = watch.moved()
            self.assertGreater(moved.pop((COUNT, "get", "accounts")), 0)
            self.assertGreater(moved.pop((COUNT, "get", "roster")), 0)
            self.assertLessEqual({key[0] for key in moved}, {COUNT})
            # 13 keeps who was active, and what clients have been able to do.
            watch.moved()

            # The time of an operation that waits is that until it is done; others are served meanwhile.
            before, began = prosody.samples(), time.monotonic()
            card = iq(romeo, "set", ET.Element("{vcard-temp}vCard"))
            await synchronize(juliet)
            await card
            took = time.monotonic() - began
            wait_for("the sample", lambda: watch.moved() == {(COUNT, "set", "vcard"): 1})
            labels = (("operation", "set"), ("store", "vcard"))
            seconds = prosody.samples()[SUM, labels] - before.get((SUM, labels), 0)
            self.assertTrue(0.25 <= seconds <= took, seconds)

            # A failure is one of this host's, and what the client is told is what the store says.
            query = ET.Element("{jabber:iq:private}query")
            ET.SubElement(query, "{urn:example}thing")
            for _ in range(2):
                answer = await asyncio.gather(iq(romeo, "set", query), return_exceptions=True)
                self.assertIn("wait", str(answer[0].iq))
            self.assertEqual(watch.moved(), {(COUNT, "set", "private"): 2, (ERRORS, HOST, "set", "private"): 2})

            # Nodes have names that clients choose.
            lines = set(prosody.samples())
            for node in ("urn:example:one", "a" * 100, 'x"} 1\n# EOF', "é\u0001"[:1], "accounts"):
                await iq(romeo, "set", publish(node))
            moved = watch.moved()
            self.assertEqual({key[-1] for key in moved}, {"pep"})
            self.assertEqual(moved[COUNT, "append", "pep"], 5)
            new = {key for key in set(prosody.samples()) - lines if key[0] in (COUNT, ERRORS)}
            self.assertEqual({dict(labels)["store"] for _, labels in new}, {"pep"})

    def in_the_shell(self, prosody):
        """What modules get is what drivers answer, also when these raise."""
        watch = Watch(prosody)
        self.assertIn("nil", lua(prosody, f'tostring(({operate("private", "get()")}))'))
        self.assertEqual(watch.moved(), {(COUNT, "get", "private"): 1, (ERRORS, HOST, "get", "private"): 1})
        self.assertIn("is on fire", lua(prosody, f'select(2, {operate("private", "get(true)")})'))
        watch.moved()
        self.assertIn("is on fire", lua(prosody, f'select(2, pcall(function () return {operate("private", "users()")} end))'))
        self.assertEqual(watch.moved(), {})
        # Nothing is there, which is an answer.
        self.assertIn("item-not-found", lua(prosody, f'select(2, {operate("offline", "get(nil, [[x]])", "archive")})'))
        self.assertEqual(watch.moved(), {(COUNT, "get", "offline"): 1})
        # What modules test and walk through.
        code = ('(function () local s = require "core.storagemanager".open("localhost", "x", "archive") local n = "" '
                'for k in pairs(s) do n = n .. k .. " " end return n .. tostring(s.caps.total) .. tostring(s.nothing) end)()')
        self.assertIn("true" + "nil", lua(prosody, code))
        self.assertNotIn("append", lua(prosody, code))
        self.assertEqual(watch.moved(), {})

    def hosts_and_modules(self, prosody):
        watch = Watch(prosody)
        get = (COUNT, "get", "roster")
        lua(prosody, operate("roster", 'get("romeo")'))
        self.assertEqual(watch.moved(), {get: 1})
        for command in ('module:reload("storage_internal", "localhost")', 'module:reload("pep", "localhost")', "config:reload()"):
            prosody.shell(command)
        watch.moved()
        lua(prosody, operate("roster", 'get("romeo")'))
        self.assertEqual(watch.moved(), {get: 1})

        error = (ERRORS, "second.localhost", "get", "roster")
        self.assertNotIn(error, stored(prosody))
        lua(prosody, operate("roster", 'get("romeo")', host="second.localhost"))
        self.assertEqual(stored(prosody)[error], 0)
        watch.moved()
        prosody.shell('host:deactivate("second.localhost")')
        self.assertEqual({key for key in stored(prosody) if "second.localhost" in key}, set())
        prosody.shell('host:activate("second.localhost")')
        watch.moved()
        lua(prosody, operate("roster", 'get("romeo")', host="second.localhost"))
        self.assertEqual(stored(prosody)[error], 0)
        self.assertEqual(watch.moved()[get], 1)


class Sql(unittest.TestCase):
    """Prosody's SQLite."""

    def test_sql(self):
        options = """
            default_storage = "sql"
            sql = { driver = "SQLite3"; database = "prosody.sqlite" }
        """
        with Exporting(options=options, modules=["offline"]).serves() as prosody:
            watch = Watch(prosody)
            prosody.shell(f'user:create("user1@{HOST}", "{PASSWORD}")')
            prosody.shell(f'user:create("user2@{HOST}", "{PASSWORD}")')
            moved = watch.moved()
            self.assertGreaterEqual(moved[COUNT, "set", "accounts"], 2)
            asyncio.run(self.talk(prosody, watch))
            # Its map stores set single keys by their own method for many.
            lua(prosody, operate("roster", 'set("user1", "key", { "value" })', "map"))
            self.assertEqual(watch.moved(), {(COUNT, "set", "roster"): 1})
            self.assertIn("value", lua(prosody, operate("roster", 'get("user1", "key")[1]', "map")))
            self.assertEqual(watch.moved(), {(COUNT, "get", "roster"): 1})
            self.assertEqual(prosody.complaints(), [])

    async def talk(self, prosody, watch):
        async with clients(prosody, 1) as (romeo,):
            await synchronize(romeo)
            watch.moved()
            romeo.send_message(mto=f"user2@{HOST}", mbody="hello", mtype="chat")
            await synchronize(romeo)
            # Whether there is such a user is asked, too.
            self.assertEqual(watch.moved(), {
                (COUNT, "get", "accounts"): 1, (COUNT, "append", "offline"): 1, (OFFLINE, HOST, "stored"): 1
            })
        async with clients(prosody, 2) as (_, juliet):
            await juliet.hears("hello")
            await synchronize(juliet)
            moved = watch.moved()
            self.assertEqual(moved[OFFLINE, HOST, "delivered"], 1)
            self.assertEqual({key for key in moved if key[0] != COUNT}, {(OFFLINE, HOST, "delivered")})


class Messages(unittest.TestCase):
    """Messages to those who aren't there, and archives."""

    def test_offline(self):
        options = """
            storage_archive_item_limit = 2
            VirtualHost "without.localhost"
                modules_disabled = { "offline" }
        """
        with Exporting(options=options, modules=["offline"]) as prosody:
            prosody.add_users(2)
            prosody.serves()
            before = stored(prosody)
            self.assertEqual({key[2]: value for key, value in before.items() if key[:2] == (OFFLINE, HOST)},
                             {"stored": 0, "delivered": 0, "refused": 0})
            self.assertEqual({key for key in before if "without.localhost" in key and key[0] == OFFLINE}, set())
            asyncio.run(self.offline(prosody))
            self.assertEqual(prosody.complaints(), [])

    async def offline(self, prosody):
        watch = Watch(prosody)

        def moved():
            return {key[2]: value for key, value in watch.moved().items() if key[0] == OFFLINE}
        async with clients(prosody, 1) as (romeo,):
            for body in ("one", "two", "too many"):
                message = romeo.make_message(mto=f"user2@{HOST}", mbody=body, mtype="chat")
                if body == "two":
                    message.append(ET.Element("{urn:xmpp:delay}delay", {"from": "a.gateway", "stamp": "2026-01-01T00:00:00Z"}))
                message.send()
            # To nobody, to oneself, and what is kept for nobody.
            romeo.send_message(mto=f"nobody@{HOST}", mbody="x", mtype="chat")
            romeo.send_message(mto=f"user1@{HOST}", mbody="myself", mtype="chat")
            romeo.send_message(mto=f"user2@{HOST}", mbody="x", mtype="headline")
            await romeo.hears("myself")
            await synchronize(romeo)
            self.assertEqual(moved(), {"stored": 2, "refused": 1})
        async with clients(prosody, 2) as (romeo, juliet):
            await juliet.hears("two")
            await synchronize(juliet)
            self.assertEqual(moved(), {"delivered": 2})
            # A message that looks like one that was kept.
            message = romeo.make_message(mto=f"user2@{HOST}", mbody="fresh", mtype="chat")
            message.append(ET.Element("{urn:xmpp:delay}delay", {"from": HOST, "stamp": "2026-01-01T00:00:00Z"}))
            message.send()
            await juliet.hears("fresh")
            self.assertEqual(moved(), {})

    def test_archives(self):
        options = """
            Component "archived.localhost" "muc"
                modules_enabled = { "muc_mam" }
                muc_room_locking = false
        """
        with Exporting(options=options, modules=["mam"]) as prosody:
            prosody.add_users(2)
            prosody.serves()
            before = {key: value for key, value in stored(prosody).items() if key[0] == ARCHIVE}
            self.assertEqual(before, {(ARCHIVE, HOST, "user"): 0, (ARCHIVE, "archived.localhost", "room"): 0})
            asyncio.run(self.archives(prosody))
            self.assertEqual(prosody.complaints(), [])

    async def archives(self, prosody):
        watch = Watch(prosody)

        def moved():
            return {key: value for key, value in watch.moved().items() if key[0] in (ARCHIVE, OFFLINE)}
        user, room = (ARCHIVE, HOST, "user"), (ARCHIVE, "archived.localhost", "room")
        async with clients(prosody, 2) as (romeo, juliet):
            await synchronize(romeo)
            moved()
            romeo.send_message(mto=f"user2@{HOST}", mbody="hello", mtype="chat")
            await juliet.hears("hello")
            # In the sender's archive, and in the recipient's.
            self.assertEqual(moved(), {user: 2})
            romeo.send_message(mto=f"nobody@{HOST}", mbody="x", mtype="headline")
            for name in ("archived.localhost", ROOMS):
                options = {"pfrom": romeo.boundjid.full}
                await romeo["xep_0045"].join_muc_wait(f"den@{name}", "romeo", maxstanzas=0, presence_options=options)
            await synchronize(romeo)
            moved()
            message = romeo.make_message(mto="den@archived.localhost", mbody="all", mtype="groupchat")
            message.append(ET.Element("{urn:xmpp:sid:0}stanza-id", {"by": "den@archived.localhost", "id": "forged"}))
            message.send()
            await romeo.hears("all")
            self.assertEqual(moved(), {room: 1})
            # What is no message to keep, and a room without archive.
            message = romeo.make_message(mto="den@archived.localhost", mtype="groupchat")
            message.append(ET.Element("{http://jabber.org/protocol/chatstates}composing"))
            message.append(ET.Element("{urn:xmpp:sid:0}stanza-id", {"by": "den@archived.localhost", "id": "forged"}))
            message.send()
            romeo.send_message(mto=f"den@{ROOMS}", mbody="not kept", mtype="groupchat")
            await romeo.hears("not kept")
            self.assertEqual(moved(), {})
        async with clients(prosody, 1) as (romeo,):
            # mod_mam keeps what nobody else does.
            romeo.send_message(mto=f"user2@{HOST}", mbody="later", mtype="chat")
            await synchronize(romeo)
            self.assertEqual(moved(), {user: 2, (OFFLINE, HOST, "stored"): 1})


class Users(unittest.TestCase):
    def test_users(self):
        """Counted when asked for, in slices; those who were active only where something knows it."""
        source = ["account_activity"] if VERSION >= 13 else ["lastlog2"]
        options = f"""
            VirtualHost "unknown.localhost"
                modules_disabled = {{ "{source[0]}" }}
        """
        with Exporting(config="operator = { active_users = true }", options=options, modules=["metre_soon", *source]) as prosody:
            prosody.add_users(1500)
            prosody.serves()
            wait_for("the first count", lambda: stored(prosody).get((USERS, HOST)) == 1500)
            samples = stored(prosody)
            active = {key[2]: value for key, value in samples.items() if key[:2] == (ACTIVE, HOST)}
            self.assertEqual(active, {"1d": 0, "7d": 0, "30d": 0})
            self.assertEqual({key for key in samples if key[0] == ACTIVE and key[1] != HOST}, set())
            self.assertEqual({key[1] for key in samples if key[0] == USERS}, {HOST, "unknown.localhost"})
            day = 86400
            for number, age in enumerate((60, 3 * day, 10 * day, 40 * day), 1):
                store, value = ("account_activity", "{{ timestamp = {} }}") if VERSION >= 13 else \
                    ("lastlog2", "{{ login = {{ timestamp = {0} }}; registered = {{ timestamp = {0} + 99999999 }} }}")
                lua(prosody, operate(store, f'set("user{number}", {value.format(int(time.time()) - age)})'))
            asyncio.run(self.online(prosody))
            prosody.shell('host:deactivate("unknown.localhost")')
            self.assertEqual({key[1] for key in stored(prosody) if key[0] == USERS}, {HOST})
            self.assertEqual(prosody.complaints(), [])

    async def online(self, prosody):
        romeo = Client("user9", prosody.c2s_port)
        await romeo.log_in()
        await asyncio.get_running_loop().run_in_executor(None, wait_for, "those who were active", lambda: {
            key[2]: value for key, value in stored(prosody).items() if key[:2] == (ACTIVE, HOST)
        } == {"1d": 2, "7d": 3, "30d": 4})
        await romeo.log_out()

    def test_nothing_unless_asked_for(self):
        with Exporting(config="operator = { storage = false }").serves() as prosody:
            names = {key[0] for key in stored(prosody)}
            self.assertEqual(names & {COUNT, ERRORS, USERS, ACTIVE}, set())
            self.assertEqual(prosody.complaints(), [])
