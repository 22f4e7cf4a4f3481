"""Statsd servers on loopback that add up what the cases count."""

import pathlib
import re
import selectors
import socket

COUNT = re.compile(rb"^prosody\.exits[^:]*:(\d+)\|c$", re.M)


class Servers:
    """Statsd servers of all kinds, for one run at a time; their sockets stay."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.unix.bind(str(self.directory / "statsd"))
        self.selector = selectors.DefaultSelector()
        for server in (self.udp, self.tcp, self.unix):
            server.setblocking(False)
            self.selector.register(server, selectors.EVENT_READ, self._accept if server is self.tcp else self._datagram)
        self.arrived = 0
        self.streams = {}

    def _accept(self, server):
        stream, _ = server.accept()
        stream.setblocking(False)
        self.streams[stream] = b""
        self.selector.register(stream, selectors.EVENT_READ, self._stream)

    def _datagram(self, server):
        self._count(server.recv(1 << 16))

    def _stream(self, stream):
        try:
            text = stream.recv(1 << 16)
        except ConnectionResetError:
            text = b""
        whole, newline, self.streams[stream] = (self.streams[stream] + text).rpartition(b"\n")
        self._count(whole + newline)
        if not text:
            self.forget(stream)

    def forget(self, stream):
        self.selector.unregister(stream)
        del self.streams[stream]
        stream.close()

    def _count(self, text):
        self.arrived += sum(int(step) for step in COUNT.findall(text))

    def drain(self):
        """Takes in all that has been sent, by processes that have ended."""
        while events := self.selector.select(0):
            for key, _ in events:
                key.data(key.fileobj)
        for stream in list(self.streams):
            self.forget(stream)
        arrived, self.arrived = self.arrived, 0
        return arrived

    def close(self):
        for server in (self.udp, self.tcp, self.unix):
            server.close()
        self.selector.close()

    def environment(self):
        return {
            "EXITS_DIR": str(self.directory),
            "EXITS_UDP": f"127.0.0.1:{self.udp.getsockname()[1]}",
            "EXITS_TCP": f"127.0.0.1:{self.tcp.getsockname()[1]}",
        }
