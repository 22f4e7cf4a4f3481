"""XMPP clients that talk, meet and come and go, whatever becomes of the server meanwhile."""

import asyncio
import logging
import random
import threading

from harness import HOST, ROOMS, Client

# slixmpp has a lot to say on connections that are refused, which is what happens here.
logging.getLogger("slixmpp").setLevel(logging.CRITICAL)

RESIDENTS, VISITORS = 4, 2
PATIENCE = 10


class Load(threading.Thread):
    """Clients of one Prosody, in a thread of their own."""

    def __init__(self, victim, seed):
        super().__init__(daemon=True)
        self.victim = victim
        self.random = random.Random(seed)
        self.logins = self.refused = 0
        self.faults = []
        self.ends = threading.Event()

    def run(self):
        try:
            asyncio.run(self.all())
        except Exception as why:  # noqa: B902
            self.faults.append(f"the clients have ended: {why!r}")

    async def all(self):
        lives = [self.live(number, 10_000) for number in range(1, RESIDENTS + 1)]
        lives += [self.live(RESIDENTS + number, 20) for number in range(1, VISITORS + 1)]
        await asyncio.gather(*lives)

    async def live(self, number, longest):
        """Logs in again and again, for a time."""
        while not self.ends.is_set():
            client = Client(f"user{number}", self.victim.c2s_port, f"r{number}")
            try:
                client.connect(("127.0.0.1", client.port), use_ssl=False, force_starttls=False, disable_starttls=True)
                await client.wait_until("session_start", PATIENCE)
                self.logins += 1
                client.send_presence()
                await self.talk(client, number, self.random.randrange(longest // 2, longest))
                gone = client.wait_until("disconnected", PATIENCE)
                client.disconnect()
                await gone
            except (asyncio.TimeoutError, OSError):
                self.refused += 1
            finally:
                client.cancel_connection_attempt()
                client.abort()
                # slixmpp leaves that to whoever ends the loop.
                if client._run_out_filters:
                    client._run_out_filters.cancel()
            await asyncio.sleep(0.2)

    async def talk(self, client, number, turns):
        room = f"room{self.random.randrange(2)}@{ROOMS}"
        presence = client.make_presence(pto=f"{room}/{client.boundjid.resource}")
        presence.enable("muc")
        presence.send()
        while turns > 0 and not self.ends.is_set() and client.is_connected():
            turns -= 1
            other = self.random.randrange(RESIDENTS) + 1
            client.send_message(f"user{other}@{HOST}/r{other}", "hello", mtype="chat")
            if turns % 10 == 0:
                client.send_message(room, "hello, everyone", mtype="groupchat")
                client.send(client.make_iq_get(queryxmlns="http://jabber.org/protocol/disco#info", ito=HOST))
            while not client.heard.empty():
                client.heard.get_nowait()
            await asyncio.sleep(self.random.random() * 0.2)

    def end(self):
        self.ends.set()
        self.join(60)
        if self.is_alive():
            raise AssertionError("the clients have not ended")

