"""Statsd servers that are killed and come back, with an exact account of what they have been sent.

What a server had received and not read when it was killed is lost for anybody (docs/statsd.md). So that the accounts are exact, an heir
reads it: this process has a duplicate of each socket.
"""

import collections
import contextlib
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import threading

from harness import free_port

# Name, value, type, and the tags of DogStatsD.
LINE = re.compile(r"([A-Za-z0-9_.+-]+):(-?[0-9.e+-]+)\|([a-z]+)(?:\|#([^|]+))?")
MOST = 64 << 20
SO_RCVBUFFORCE = 33


class Account:
    """Adds up lines: the steps of counters, the last value of gauges, by name and tags."""

    def __init__(self):
        self.counters = collections.Counter()
        self.gauges = {}
        self.bad = []
        self.lines = 0

    def add(self, text):
        for line in text.decode(errors="replace").split("\n"):
            if not line:
                continue
            match = LINE.fullmatch(line)
            if not match:
                self.bad.append(line)
                continue
            self.lines += 1
            key = (match[1], frozenset((match[4] or "").split(",")) - {""})
            if match[3] == "c":
                self.counters[key] += float(match[2])
            else:
                self.gauges[key] = float(match[2])


class Journal:
    """What one reader has read of one socket. It begins with what an earlier one has left of a line."""

    def __init__(self, path, begun=b""):
        self.path = path
        self.begun = begun
        self.offset = 0
        with open(path, "wb") as file:
            file.truncate(MOST)

    def news(self):
        """Whole lines that have come since the last call."""
        text = self.begun
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            while piece := file.read(65536).split(b"\0", 1)[0]:
                self.offset += len(piece)
                file.seek(self.offset)
                text += piece
        whole = text.rfind(b"\n") + 1
        self.begun = text[whole:]
        return text[:whole]

    def rest(self):
        """What is left, as whole lines and the beginning of another one. To be called when the reader is dead."""
        text = self.news()
        os.unlink(self.path)
        return text, self.begun


class Server:
    """What both transports have in common. Its methods are for one thread; those that add up for any."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port = free_port()
        self.account = Account()
        self.lock = threading.RLock()
        self.sockets = []
        self.journals = []
        self.made = 0
        self.starts = 0
        self.process = None

    def spawn(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(pathlib.Path(__file__).with_name("reader.py"))]
        self.process = subprocess.Popen(command, stdin=theirs, start_new_session=True)
        theirs.close()
        self.orders = ours
        self.starts += 1

    def hand_over(self, connection, begun=b""):
        """Has the reader read a socket."""
        with self.lock:
            self.made += 1
            journal = Journal(self.directory / f"journal{self.made}", begun)
            self.sockets.append(connection)
            self.journals.append(journal)
        socket.send_fds(self.orders, [str(journal.path).encode()], [connection.fileno()])

    def pause(self):
        """It reads nothing until resume(), or for as long as its buffer is sure to hold what comes."""
        os.kill(self.process.pid, signal.SIGSTOP)
        self.timer = threading.Timer(self.longest_pause, os.kill, [self.process.pid, signal.SIGCONT])
        self.timer.start()

    def resume(self):
        self.timer.cancel()
        self.timer.join()
        os.kill(self.process.pid, signal.SIGCONT)

    def end_reader(self):
        self.process.kill()
        self.process.wait()
        self.orders.close()

    def read(self):
        """Adds up what the reader has read by now."""
        with self.lock:
            for journal in self.journals:
                self.account.add(journal.news())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()


def drain(connection):
    """What the kernel has, as far as that goes without waiting; datagrams as lines. The second: whether the stream has ended."""
    pieces = []
    try:
        while piece := connection.recv(65536, socket.MSG_DONTWAIT):
            pieces.append(piece)
            if connection.type == socket.SOCK_DGRAM:
                pieces.append(b"\n")
    except BlockingIOError:
        return b"".join(pieces), False
    except ConnectionResetError:
        pass
    return b"".join(pieces), True


class Udp(Server):
    scheme = "udp"
    longest_pause = 2

    def start(self):
        self.spawn()
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        except PermissionError:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        bound.bind(("127.0.0.1", self.port))
        self.hand_over(bound)

    def replace(self):
        """The process is killed, and its successor reads the same socket, which nobody notices."""
        self.end_reader()
        with self.lock:
            bound = self.sockets.pop()
            self.account.add(b"".join(self.journals.pop().rest()))
        self.spawn()
        self.hand_over(bound)

    def kill(self):
        self.end_reader()
        with self.lock:
            bound = self.sockets.pop()
            self.account.add(b"".join(self.journals.pop().rest()))
            # It gets nothing more, and senders are refused.
            bound.connect(("127.0.0.1", 9))
            dropped = self.dropped(bound)
            self.account.add(drain(bound)[0])
            bound.close()
        if dropped:
            raise AssertionError(f"the kernel has dropped {dropped} datagrams: the reader was too slow for this machine")

    @staticmethod
    def dropped(bound):
        inode = str(os.fstat(bound.fileno()).st_ino)
        lines = pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]
        return next(int(line.split()[12]) for line in lines if line.split()[9] == inode)


class Tcp(Server):
    scheme = "tcp"
    longest_pause = 4

    def start(self):
        self.spawn()
        self.listen()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.wake, self.waker = os.pipe()
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        self.listener.setblocking(False)
        while True:
            ready, _, _ = select.select([self.listener, self.wake], [], [])
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection, _ = self.listener.accept()
                    self.hand_over(connection)
            if self.wake in ready:
                # What is in the backlog by now has been accepted.
                self.listener.close()
                return

    def stop_listening(self):
        os.write(self.waker, b"x")
        self.thread.join()
        os.close(self.wake)
        os.close(self.waker)

    def replace(self):
        """The process is killed, and its successor reads the same connections."""
        self.stop_listening()
        self.end_reader()
        with self.lock:
            inherited, self.sockets, self.journals = list(zip(self.sockets, self.journals)), [], []
        self.spawn()
        for connection, journal in inherited:
            lines, begun = journal.rest()
            self.account.add(lines)
            self.hand_over(connection, begun)
        self.listen()

    def kill(self):
        self.stop_listening()
        self.end_reader()
        with self.lock:
            for connection, journal in zip(self.sockets, self.journals):
                lines, begun = journal.rest()
                text, ended = drain(connection)
                text = begun + text
                if not ended:
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(10)
                    with contextlib.suppress(ConnectionResetError):
                        while piece := connection.recv(65536):
                            text += piece
                connection.close()
                # The last line, if it is not whole, comes again over the next connection.
                self.account.add(lines + text[:text.rfind(b"\n") + 1])
            self.sockets, self.journals = [], []
