"""What federation needs, on loopback and without any privilege: names, certificates, and servers that misbehave."""

import contextlib
import pathlib
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading

from harness import DEADLINE, ROOT, VERSION, Exporting, free_port

STREAM = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>"
_STREAM_ERROR = b"<stream:error><%s xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"


def openssl(*arguments, **options):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=DEADLINE, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"openssl {arguments}: {done.stderr.decode()}")
    return done.stdout.decode()


def not_after(text):
    """The seconds since 1970 that `openssl x509 -enddate` says."""
    return ssl.cert_time_to_seconds(text.strip().split("notAfter=")[1])


class Authority:
    """Makes certificates; those that it signs are trusted by whom .options() is given."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="metre-certificates-"))
        self.certificate, self.key = self.directory / "authority.pem", self.directory / "authority.key"
        self._make_key(self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", "/CN=Authority", "-days", 30, "-out", self.certificate)

    def close(self):
        shutil.rmtree(self.directory)

    @staticmethod
    def _make_key(path):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)

    def make(self, host, days=20, is_trusted=True):
        """A certificate of a host for so many days and its key, and when it ends."""
        certificate, key = self.directory / f"{host}.crt", self.directory / f"{host}.key"
        if not key.exists():
            self._make_key(key)
        request = self.directory / "request"
        extensions = self.directory / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        openssl("req", "-new", "-key", key, "-subj", f"/CN={host}", "-out", request)
        signed_by = ["-CA", self.certificate, "-CAkey", self.key] if is_trusted else ["-signkey", key]
        new = self.directory / "new"
        # Newer versions want no time that ends before it begins.
        time = ["-days", days] if days > 0 or ssl.OPENSSL_VERSION_INFO < (3, 4) else ["-not_before", "200101000000Z", "-not_after", "210101000000Z"]
        openssl("x509", "-req", "-in", request, *signed_by, *time, "-set_serial", days + 100_000, "-extfile", extensions, "-out", new)
        # As those do who renew certificates: never half a file.
        new.rename(certificate)
        return not_after(openssl("x509", "-in", certificate, "-noout", "-enddate"))

    def tls(self, host, version, asks=ssl.CERT_NONE):
        """How a server speaks TLS that trusts nobody, and asks for a certificate or doesn't."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / f"{host}.crt", self.directory / f"{host}.key")
        context.minimum_version = context.maximum_version = version
        context.verify_mode = asks
        return context

    def options(self, host):
        """For `ssl` of a host."""
        return f'ssl = {{ certificate = "{self.directory}/{host}.crt"; key = "{self.directory}/{host}.key"; cafile = "{self.certificate}" }}'


class Names:
    """A DNS server. It knows where domains have their XMPP servers, and that there is nothing else."""

    def __init__(self):
        self.ports = {}
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.port = free_port()
        self.socket.bind(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self):
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(DEADLINE)
        self.socket.close()

    def _serve(self):
        while True:
            query, sender = self.socket.recvfrom(2000)
            if not query:
                return
            self.socket.sendto(self._answer(query), sender)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]])
            at += 1 + query[at]
        question = query[12:at + 5]
        kind = struct.unpack("!H", question[-4:-2])[0]
        name = b".".join(labels).decode().lower()
        domain = name.removeprefix("_xmpp-server._tcp.")
        record = None
        if domain in self.ports and kind == 33 and domain != name:
            target = b"".join(bytes([len(label)]) + label.encode() for label in domain.split(".")) + b"\0"
            record = struct.pack("!HHH", 0, 0, self.ports[domain]) + target
        elif domain in self.ports and kind == 1:
            record = bytes([127, 0, 0, 1])
        is_known = domain in self.ports or not name.startswith("_") and any(known.endswith("." + name) for known in self.ports)
        header = query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if is_known else 3), 1, 1 if record else 0, 0, 0)
        answer = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 1, len(record)) + record if record else b""
        return header + question + answer

    @property
    def options(self):
        """Has a Prosody ask here: 0.12 with the resolver of its own, later ones with libunbound."""
        return f"""
            test_dns_port = {self.port}
            unbound = {{ resolvconf = false; hoststxt = false; forward = "127.0.0.1@{self.port}";
                options = {{ ["do-not-query-localhost:"] = "no" }} }}
            use_ipv6 = false
        """


class Server(socketserver.ThreadingTCPServer):
    """Another server that does the same to all who connect: `answers` are what it says after it was told something, or how it speaks TLS
    from then on."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, *answers, closes=True):
        answers_all, self.is_over = answers, threading.Event()
        over = self.is_over

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    for answer in answers_all:
                        if isinstance(answer, ssl.SSLContext):
                            self.request = answer.wrap_socket(self.request, server_side=True)
                        else:
                            self.request.recv(4000)
                            self.request.sendall(answer)
                    if not closes:
                        over.wait(DEADLINE)
                self.request.close()

        super().__init__(("127.0.0.1", free_port()), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def close(self):
        self.is_over.set()
        self.shutdown()
        self.server_close()


def answering(condition):
    """A server that has nothing but a stream error."""
    return Server(STREAM + _STREAM_ERROR % condition)


class Federating(Exporting):
    """A Prosody that talks with other servers, for hosts with options of theirs."""

    def __init__(self, names, hosts, options="", **more):
        self.s2s_port = free_port()
        for host in hosts:
            names.ports[host] = self.s2s_port
        virtual = "\n".join(f'VirtualHost "{host}"\n{lines}' for host, lines in hosts.items())
        super().__init__("collect_min_interval = 0;", modules=("s2s", "tls", "dialback", "s2s_auth_certs", *(["metre_names"] if VERSION < 13 else [])), options=f"""
            modules_disabled = {{}}
            s2s_ports = {{ {self.s2s_port} }}
            {names.options}
            {options}
            {virtual}
        """, **more)
        for host in hosts:
            accounts = self.directory / "data" / host.replace(".", "%2e") / "accounts"
            accounts.mkdir(parents=True)
            (accounts / "user1.dat").write_text('return { ["password"] = "metre"; };\n')


