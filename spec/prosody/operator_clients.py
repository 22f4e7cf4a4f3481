"""Clients that write XML by hand, over TCP, TLS, BOSH and WebSocket, and what a part of the operator pack has counted since one last looked."""

import base64
import contextlib
import http.client
import os
import re
import socket
import ssl
import struct
import subprocess
import warnings

from harness import DEADLINE, HOST, PASSWORD, wait_for

HEADER = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' {}>"
FRAMED = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' to='{}'/>"
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
# Over WebSocket each stanza has to name its namespace.
BIND = "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{}</resource></bind></iq>"
ENABLE = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Connection:
    """What all have in common; the sending and receiving is theirs. log_in() and others need nothing else."""

    def __init__(self):
        self.heard = ""

    def ask(self, xml, answer):
        """Sends this and waits for something that matches."""
        self.send(xml)
        return self.hear(answer)

    def hear(self, pattern):
        """Waits for something that matches, forgets it and all before it, and returns the match."""
        while True:
            match = re.search(pattern, self.heard)
            if match:
                self.heard = self.heard[match.end():]
                return match
            self.receive()

    def auth(self, user, password=PASSWORD, mechanism="PLAIN", answer=None):
        return self.ask(f"<auth {SASL} mechanism='{mechanism}'>{encoded(f'{chr(0)}{user}{chr(0)}{password}')}</auth>",
                        answer or "<(success|failure|challenge)[^>]*>")

    def bind(self, resource):
        return self.ask(BIND.format(resource), "<jid>([^<]+)</jid>")[1]

    def log_in(self, user="user1", resource="test", host=HOST):
        self.open(host)
        if self.auth(user)[1] != "success":
            raise AssertionError(f"{user} can't log in")
        self.open(host)
        return self.bind(resource)


class Stream(Connection):
    """Over TCP, from the beginning with TLS if there is a context for it."""

    def __init__(self, port, tls=None):
        super().__init__()
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        if tls:
            self.start_tls(tls)

    def start_tls(self, context):
        self.socket = context.wrap_socket(self.socket, server_hostname=HOST)

    def send(self, xml):
        self.socket.sendall(xml.encode())

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(self.heard)
        self.heard += data.decode()

    def open(self, host=HOST):
        return self.ask(HEADER.format(f"to='{host}'"), "</stream:features>")

    def close(self):
        """As a client that says farewell."""
        self.send("</stream:stream>")
        self.ends()

    def ends(self):
        """Reads until the server has closed the connection."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self.receive()
        self.drop()

    def drop(self, reset=False):
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __del__(self):
        # Many clients have nothing more to say when a test ends.
        if hasattr(self, "socket"):
            self.socket.close()


class WebSocket(Stream):
    def __init__(self, port):
        super().__init__(port)
        key = encoded("0123456789abcdef")
        super().send(f"GET /xmpp-websocket HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n")
        self.raw = b""
        while b"\r\n\r\n" not in self.raw:
            self.raw += self.socket.recv(65536)
        head, self.raw = self.raw.split(b"\r\n\r\n", 1)
        if b" 101 " not in head:
            raise AssertionError(head)

    def send(self, xml):
        data, mask = xml.encode(), os.urandom(4)
        length = struct.pack("!B", 128 | len(data)) if len(data) < 126 else struct.pack("!BH", 128 | 126, len(data))
        self.socket.sendall(b"\x81" + length + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def receive(self):
        def frame():
            if len(self.raw) < 2:
                return None
            size, begin = self.raw[1] & 127, 2
            if size == 126:
                size, begin = struct.unpack("!H", self.raw[2:4])[0] if len(self.raw) >= 4 else 1 << 20, 4
            return (begin, begin + size) if len(self.raw) >= begin + size else None
        while not frame():
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self.heard)
            self.raw += data
        begin, end = frame()
        self.heard += self.raw[begin:end].decode(errors="replace") if self.raw[0] & 15 == 1 else ""
        self.raw = self.raw[end:]

    def open(self, host=HOST):
        return self.ask(FRAMED.format(host), "</stream:features>")

    def close(self):
        self.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
        self.ends()


class Bosh(Connection):
    def __init__(self, port):
        super().__init__()
        self.port, self.rid, self.sid = port, 1000, None

    def post(self, attributes, xml=""):
        self.rid += 1
        sid = f"sid='{self.sid}'" if self.sid else ""
        body = (f"<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='{self.rid}' {sid} {attributes}>"
                f"{xml}</body>")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request("POST", "/http-bind", body.encode(), {"Host": HOST, "Content-Type": "text/xml"})
            self.heard += connection.getresponse().read().decode()

    def send(self, xml):
        self.post("", xml)

    def receive(self):
        self.post("")

    def open(self, host=HOST):
        if self.sid:
            self.post(f"xmpp:restart='true' to='{host}'")
        else:
            self.post(f"to='{host}' wait='1' hold='1' ver='1.6' xmpp:version='1.0'")
            self.sid = re.search(r"\bsid='([^']+)'", self.heard)[1]

    def close(self):
        self.post("type='terminate'")


def self_signed(directory, name=HOST, days=30):
    """Makes a key and a certificate that nobody trusts."""
    key, certificate = f"{directory}/{name}.key", f"{directory}/{name}.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", str(days), "-subj",
                    f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    return key, certificate


def trusting(minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.TLSv1_3):
    """TLS for a client that takes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version, context.maximum_version = minimum, maximum
    return context


class Ledger:
    """What has moved of some families. Nothing else may have moved, also not late: it would be in what is expected next."""

    def __init__(self, prosody, *families):
        self.prosody, self.families = prosody, families
        self.before = self._look()

    def _look(self):
        """Values by names without host=localhost, durations only as counts."""
        samples = {}
        for (name, labels), value in self.prosody.samples().items():
            if name.startswith(self.families) and not re.search("_(sum|bucket|created)$", name):
                values = ",".join(value for key, value in labels if (key, value) != ("host", HOST))
                samples[name.removeprefix("prosody_") + (f"{{{values}}}" if values else "")] = value
        return samples

    def _moved(self):
        after = self._look()
        moved = {name: value - self.before.get(name, 0) for name, value in after.items() if value != self.before.get(name, 0)}
        return after, moved

    def expect(self, moved):
        """Waits until exactly this has moved since the last time. A series that wasn't there must not come."""
        last = {}

        def as_expected():
            after, last["moved"] = self._moved()
            if after.keys() != self.before.keys():
                raise AssertionError(f"other series: {after.keys() ^ self.before.keys()}")
            if last["moved"] == moved:
                self.before = after
                return True
            return False
        try:
            wait_for("what moves", as_expected)
        except TimeoutError:
            raise AssertionError(f"moved: {last['moved']}, and not: {moved}") from None
