"""A statsd server's process, which can be killed at any moment: what the kernel hands it stands in a file at once, by mmap.

Standard input is a Unix socket over which the sockets to be read come, each with the path of its file.
"""

import mmap
import os
import selectors
import socket

MOST = 64 << 20
PIECE = 65536


class Journal:
    """Bytes of one socket, up to the first zero."""

    def __init__(self, path):
        with open(path, "r+b") as file:
            self.bytes = memoryview(mmap.mmap(file.fileno(), MOST))
        self.end = 0

    def read(self, connection):
        """Takes in what there is; False at the end of a stream, whichever that is."""
        try:
            count = connection.recv_into(self.bytes[self.end:self.end + PIECE])
        except ConnectionResetError:
            return False
        self.end += count
        if connection.type == socket.SOCK_DGRAM:
            self.bytes[self.end] = ord("\n")
            self.end += 1
        return count > 0


def main():
    selector = selectors.DefaultSelector()
    orders = socket.socket(fileno=0)
    selector.register(orders, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data:
                if not key.data.read(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                continue
            path, (descriptor,), _, _ = socket.recv_fds(orders, 4096, 1)
            if not path:
                os._exit(0)
            selector.register(socket.socket(fileno=descriptor), selectors.EVENT_READ, Journal(path.decode()))


main()
