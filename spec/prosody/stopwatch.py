"""Times that say something of a program, however busy the machine is."""

import contextlib
import os
import pathlib
import time


class Stopwatch:
    """Measures time without that for which this process or another one was kept from running by others."""

    def __init__(self, pid):
        self.pids = os.getpid(), pid
        self.start = time.monotonic()
        self.before = self._waits()
        self.last = dict(self.before)

    def _waits(self):
        """How long each thread has been ready to run and not running, in seconds."""
        waits = {}
        for pid in self.pids:
            for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    waits[str(stat)] = int(stat.read_text().split()[1]) / 1e9
        return waits

    def look(self):
        """Of a process that ends meanwhile, what was seen last counts."""
        self.last.update(self._waits())

    def seconds(self):
        took = time.monotonic() - self.start
        self.look()
        return took - sum(wait - self.before.get(thread, 0) for thread, wait in self.last.items())
