"""What a process has run, in seconds. Each of these returns a clock: a function that tells."""

import ctypes
import os
import pathlib
import time


def process_clock(pid):
    """All its threads, those that have ended included."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return lambda: time.clock_gettime(clock.value)


def main_thread_clock(pid):
    """Its main thread alone, which is what XMPP waits for."""
    schedstat = pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat")
    return lambda: int(schedstat.read_text().split()[0]) / 1e9
