"""How many instructions a real Prosody takes for what clients do, by callgrind.

A client says where each part begins and ends (modules/mod_metre_marks.lua), so starting doesn't count. Lua's collector stands still
during a part: when it runs is chance. Instead the bytes are told that Lua has allocated, which it has to clear up at some time.
"""

import contextlib
import re
import subprocess
import tempfile

from harness import ROOT, Exporting
from raw_clients import RawClient
from turns import LUAS

NAMESPACE = "urn:metre:marks"

# Lua makes the seed of its hashes of addresses, which are the same in each run under valgrind, and of the first thing that this
# returns. Where names collide in Lua's tables is worth 1 % of a message, which is more than what is to be found out.
CLOCK = """
#include <stdlib.h>
#include <time.h>
time_t time(time_t *to) {
	static int told;
	struct timespec now;
	if (told++)
		clock_gettime(CLOCK_REALTIME, &now);
	else
		now.tv_sec = atoi(getenv("BENCH_SEED"));
	return to ? (*to = now.tv_sec) : now.tv_sec;
}
"""


@contextlib.contextmanager
def seeded():
    """A library that gives Lua the seed that BENCH_SEED says."""
    with tempfile.TemporaryDirectory() as directory:
        library = f"{directory}/seed.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O", "-x", "c", "-", "-o", library], input=CLOCK, text=True, check=True)
        yield library


class Counted(Exporting):
    """A Prosody under callgrind, with the clients user1 and user2 once it has started."""

    def __init__(self, seed, library, modules=(), **more):
        super().__init__(
            modules=["metre_marks", *modules], plugin_paths=[ROOT / "benches/modules"], log_level="error", **more,
        )
        self.environment.update(LD_PRELOAD=library, BENCH_SEED=f"{seed:04}")
        self.add_users(3)
        self.wrapper = [
            *("valgrind", "--quiet", "--tool=callgrind", "--dump-before=lua_warning"),
            *(f"--callgrind-out-file={self.directory}/callgrind", LUAS["5.4"]),
        ]
        self.clients = []
        self.marks = 0

    def start(self, **more):
        super().start(**more)
        self.clients = [RawClient(user, self.c2s_port) for user in ("user1", "user2")]
        return self

    def __exit__(self, *exception):
        for client in self.clients:
            client.socket.close()
        super().__exit__(*exception)

    def mark(self, collector):
        """Ends a part and begins the next one; returns what that one has allocated."""
        self.marks += 1
        answer = self.clients[0].ask(
            f"<iq type='get' id='mark' to='localhost'><mark xmlns='{NAMESPACE}' collector='{collector}'/></iq>", "</iq>",
        )
        return int(re.search(rb"<bytes>(\d+)", answer)[1])

    def count(self, work, times, collector="off"):
        """Does some work; returns instructions and bytes for each of so many times."""
        self.mark(collector)
        work(times)
        allocated = self.mark("on")
        # Each mark reads the counter twice, the first time for what was before.
        out = (self.directory / f"callgrind.{2 * self.marks - 1}").read_text()
        return int(re.search(r"^totals: (\d+)", out, re.MULTILINE)[1]) / times, allocated / times

    def send(self, count):
        sender, receiver = self.clients[:2]
        batch = 20
        # No more at once than Prosody reads at once, so that each run takes the same turns.
        for _ in range(count // batch):
            sender.send_messages(receiver, batch)

    def log_in(self, count):
        """From the connection to the session; these stay."""
        for _ in range(count):
            number = len(self.clients)
            self.clients.append(RawClient("user3", self.c2s_port, resource=number, is_present=False))

    def log_in_and_out(self, count):
        for _ in range(count):
            with RawClient("user3", self.c2s_port) as client:
                client.log_out()

