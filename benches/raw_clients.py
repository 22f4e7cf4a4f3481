"""XMPP clients that say no more than they have to, over plain sockets: they cost so little that the server is what is measured."""

import base64
import socket
import threading

from harness import DEADLINE, HOST, PASSWORD

OPENING = "<stream:stream to='%s' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"


class RawClient:
    """A client, logged in, and present unless it shall not be."""

    def __init__(self, user, port, host=HOST, resource="raw", is_present=True):
        self.name = f"{user}@{host}/{resource}"
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        password = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        self.ask(OPENING % host, "</stream:features>")
        self.ask(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{password}</auth>", "<success")
        self.ask(OPENING % host, "</stream:features>")
        bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>"
        self.ask(f"<iq type='set' id='bind'>{bind}</iq>", "</iq>")
        if is_present:
            self.ask("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>", "<query")
            self.ask("<presence/>", "<presence")

    def ask(self, text, awaited):
        """Says something and returns the answer, which has these words in it."""
        self.socket.sendall(text.encode())
        answer = b""
        while awaited.encode() not in answer:
            part = self.socket.recv(65536)
            if not part:
                raise ConnectionError(f"{self.name}: no {awaited} but {answer.decode(errors='replace')}")
            answer += part
        return answer

    def send_messages(self, other, count):
        """Sends messages to another client as fast as the server takes them; returns once all have arrived there."""
        message = (
            f"<message to='{other.name}' type='chat' id='0123456789'><body>{'What a client says. ' * 4}</body>"
            "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
        ).encode()
        sender = threading.Thread(target=self._send, args=[message, count])
        sender.start()
        try:
            other.receive(b"</message>", count)
        finally:
            sender.join()

    def _send(self, message, count):
        batch = 100
        for _ in range(count // batch):
            self.socket.sendall(message * batch)
        self.socket.sendall(message * (count % batch))

    def receive(self, end, count):
        """Waits until so many things with this end have come."""
        rest = b""
        while count > 0:
            part = self.socket.recv(1 << 20)
            if not part:
                raise ConnectionError(f"{self.name}: {count} have not come")
            rest += part
            count -= rest.count(end)
            rest = rest[rest.rfind(end) + len(end):] if end in rest else rest

    def log_out(self):
        """Ends the stream; returns when the server has closed the connection."""
        self.socket.sendall(b"</stream:stream>")
        while self.socket.recv(65536):
            pass
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
