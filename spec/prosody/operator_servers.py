"""Servers and components that write XML by hand, and a ledger that doesn't wait, for tests of the operator pack."""

import contextlib
import hashlib
import random
import re
import socket
import threading

from harness import HOST
from operator_clients import Ledger, Stream

HEADER = ("<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='http://etherx.jabber.org/streams' "
          "xmlns:db='jabber:server:dialback' version='1.0' {}>")
SECRET = "metre"


class Component(Stream):
    """An external component that is connected."""

    def __init__(self, port, host):
        super().__init__(port)
        self.host = host
        stream = self.ask(HEADER.format("jabber:component:accept", f"to='{host}'"), r"<stream:stream[^>]*\sid='([^']+)'")[1]
        self.ask(f"<handshake>{hashlib.sha1((stream + SECRET).encode()).hexdigest()}</handshake>", "<handshake")


class Remote:
    """Another server, whose name is its address; it says that everybody is who they claim to be."""

    def __init__(self):
        self.name = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.socket = socket.create_server((self.name, 5269))
        self.heard, self.streams = "", []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self.socket, *self.streams):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                stream = self.socket.accept()[0]
                self.streams.append(stream)
                threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream):
        """Answers what asks for an answer."""
        header = HEADER.format("jabber:server", f"from='{self.name}' to='{HOST}' id='metre'")
        text = ""
        with contextlib.suppress(OSError):
            while data := stream.recv(65536):
                text += data.decode()
                self.heard += data.decode()
                if re.search("<stream:stream[^>]*>", text):
                    stream.sendall(f"{header}<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>".encode())
                verify = re.search(r"<db:verify[^>]*\sid='([^']+)'[^>]*>[^<]*</db:verify>", text)
                if verify:
                    stream.sendall(f"<db:verify from='{self.name}' to='{HOST}' id='{verify[1]}' type='valid'/>".encode())
                if re.search("<db:result[^>]*>[^<]*</db:result>", text):
                    stream.sendall(f"<db:result from='{self.name}' to='{HOST}' type='valid'/>".encode())
                if text.endswith(">"):
                    text = ""

    def connect(self, port):
        """A stream of ours to the other, which may carry stanzas."""
        stream = Stream(port)
        stream.ask(HEADER.format("jabber:server", f"from='{self.name}' to='{HOST}'"), "</stream:features>")
        stream.ask(f"<db:result from='{self.name}' to='{HOST}'>key</db:result>", "<db:result[^>]*type='valid'")
        return stream


class Collected(Ledger):
    """What has moved by now: the exporter alone has Prosody collect once a second at most."""

    def __init__(self, prosody, *families):
        super().__init__(prosody, *(f"prosody_{family}" for family in families))

    def _look(self):
        self.prosody.page()
        return super()._look()
