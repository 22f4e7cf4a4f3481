"""What becomes of faults in the operator pack."""

import asyncio
import contextlib
import re
import unittest

from federation import Authority, Federating, Names
from harness import ROOMS, Client
from operator_tools import OnPort, complaints, conversation


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
