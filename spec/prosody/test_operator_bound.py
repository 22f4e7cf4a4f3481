"""How many lines the operator pack has on the page."""

import asyncio
import collections
import contextlib
import unittest
import xml.etree.ElementTree as ElementTree

from federation import Authority, Federating, Names
from harness import HOST, VERSION, Client, clients
from operator_tools import COMPONENT, OnPort, family_of, of_pack


SEVERAL = "".join(f'VirtualHost "{name}.localhost"\n' for name in "abcdefgh")


class Bound(unittest.TestCase):
    """How many lines the pack has on the page: at most 350 with one host and 90 for each further one."""

    MODULES = ("mam", "offline", "register_ibr", "pep", "vcard4", "blocklist", "private", "carbons", "bookmarks")

    async def use(self, client, *others):
        """Does many kinds of things, each of which is new."""
        # slixmpp 1.10 misses the answers to those who don't say who they are.
        ours = client.boundjid.full
        client.register_plugin("xep_0060")
        for number, other in enumerate((*others, *(f"user1@nowhere{number}.invalid" for number in range(15)), f"user2@{client.boundjid.domain}/x")):
            for kind in ("chat", "normal", "headline"):
                client.send_message(other, f"hello {number}", mtype=kind)
            client.send_presence(other)
        for node in ("urn:example:node", "a", "b", "c" * 100):
            await client["xep_0060"].publish(client.boundjid.bare, node, payload=ElementTree.Element("{x}y"), ifrom=ours)
        for query in ("jabber:iq:private", "jabber:iq:roster", "urn:xmpp:blocking", "vcard-temp", "urn:xmpp:mam:2", "a", "b"):
            for kind in ("get", "set"):
                client.send_raw(f"<iq to='{client.boundjid.bare}' type='{kind}' id='{query}'><query xmlns='{query}'/></iq>")
        await client["xep_0199"].ping(client.boundjid.domain)

    def check(self, prosody, hosts):
        most = 350 + 90 * (hosts - 1)
        # Prosody 13 has these itself.
        found = {key for key in of_pack(prosody.samples()) if VERSION < 13 or family_of(key[0]) not in ("prosody_dns_seconds", "prosody_info")}
        self.assertLessEqual(len(found), most, collections.Counter(family_of(name) for name, _ in found))
        # It isn't met by having nothing.
        self.assertGreater(len(found), 250)
        self.assertEqual([line for line in prosody.complaints() if "\tmetre\t" in line or " metre\t" in line], [])

    def test_one_host_that_federates(self):
        with contextlib.ExitStack() as stack:
            names, authority = Names(), Authority()
            stack.callback(names.close)
            stack.callback(authority.close)
            servers = []
            for domain in ("a.example", "b.example"):
                authority.make(domain)
                server = stack.enter_context(Federating(names, {domain: authority.options(domain)}))
                text = server.config.read_text()
                text = text[:text.index(f'VirtualHost "{HOST}"')]
                modules = "".join(f'"{name}"; ' for name in self.MODULES)
                server.config.write_text(text.replace("modules_enabled = {", "modules_enabled = { " + modules))
                servers.append(server.serves())

            async def talk():
                users = [Client("user1", server.c2s_port, host=domain) for server, domain in zip(servers, ("a.example", "b.example"))]
                for user in users:
                    await user.log_in()
                for user, other in (users, reversed(users)):
                    user.send_message(other.boundjid.full, "hello", mtype="chat")
                    await other.hears("hello")
                for user, other in (users, reversed(users)):
                    await self.use(user, other.boundjid.full, other.boundjid.bare, f"nobody@{other.boundjid.domain}")
                for user in users:
                    await user.log_out()
            asyncio.run(talk())
            for server in servers:
                self.check(server, 1)

    def lines(self, hosts, number):
        with OnPort(hosts, modules=self.MODULES).serves() as prosody:
            prosody.add_users(2)

            async def talk():
                async with clients(prosody, 2) as everyone:
                    for client in everyone:
                        await self.use(client, everyone[0].boundjid.full)
            asyncio.run(talk())
            self.check(prosody, number)

    def test_three_hosts(self):
        self.lines(f'VirtualHost "{HOST}"\nVirtualHost "a.localhost"\n{COMPONENT} "muc"', 3)

    def test_ten_hosts(self):
        self.lines(f'VirtualHost "{HOST}"\n{COMPONENT} "muc"\n{SEVERAL}', 10)
