"""TLS with clients, as the operator pack counts what fails of it, on its own port and after <starttls/>."""

import ssl
import tempfile
import unittest

from harness import HOST, Exporting, free_port
from operator_clients import HEADER, Ledger, Stream, self_signed, trusting


def failure(cause):
    return {f"c2s_tls_failures_total{{{cause}}}": 1}


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = cls.enterClassContext(tempfile.TemporaryDirectory())
        key, certificate = self_signed(directory)
        cls.direct = free_port()
        cls.prosody = cls.enterClassContext(Exporting(options=f"""
            modules_disabled = {{ "s2s" }}
            c2s_direct_tls_ports = {{ {cls.direct} }}
            ssl = {{ key = "{key}"; certificate = "{certificate}" }}
            VirtualHost "secure.test"
                c2s_require_encryption = true
        """, modules=["tls"]))
        cls.prosody.add_users(1)
        cls.prosody.serves()

    def setUp(self):
        self.expect = Ledger(self.prosody, "prosody_c2s_tls", "prosody_c2s_streams", "prosody_c2s_auth").expect

    def tearDown(self):
        self.assertNotRegex(self.prosody.log(), r"metre/operator|\bmetre\t(warn|error)")

    def starting(self):
        """A client that has been told to go on with TLS."""
        client = Stream(self.prosody.c2s_port)
        client.open()
        client.ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
        return client

    def ways(self):
        """Runs a TLS client with a context over both ways."""
        def direct(context):
            return Stream(self.direct, context)

        def after_starttls(context):
            client = self.starting()
            client.start_tls(context)
            return client
        return direct, after_starttls

    def test_what_fails(self):
        untrusting = {}
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            untrusting[version] = ssl.create_default_context()
            untrusting[version].minimum_version = untrusting[version].maximum_version = version
        other_cipher = trusting(maximum=ssl.TLSVersion.TLSv1_2)
        other_cipher.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        old = trusting(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        for way in self.ways():
            for cause, contexts in {"certificate": untrusting.values(), "cipher": [other_cipher], "protocol": [old]}.items():
                for context in contexts:
                    with self.subTest(way=way.__name__, cause=cause, maximum=context.maximum_version.name):
                        with self.assertRaises(OSError):
                            way(context)
                        self.expect(failure(cause))

    def test_what_is_not_tls(self):
        for text in "GET / HTTP/1.0\r\n\r\n", HEADER.format(f"to='{HOST}'"):
            client = Stream(self.direct)
            client.send(text)
            client.ends()
            self.expect(failure("not-tls"))
        client = self.starting()
        client.send("<auth/>" * 10)
        client.ends()
        self.expect(failure("not-tls"))
        Stream(self.direct).drop()
        self.expect(failure("closed"))
        self.starting().drop()
        self.expect(failure("closed"))

    def test_no_login_without_it(self):
        client = Stream(self.prosody.c2s_port)
        client.open("secure.test")
        client.auth("user1", answer="<encryption-required")
        self.expect({"c2s_auth_attempts_total{secure.test,encryption-required}": 1, "c2s_auth_duration_seconds_count{secure.test}": 1})
        client.close()
        # This failure has nothing to do with logging in.
        client = Stream(self.direct, trusting())
        client.open()
        client.ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<failure")
        client.ends()
        self.expect({})

    def test_what_works(self):
        for way in self.ways():
            client = way(trusting())
            client.log_in()
            client.close()
            self.expect({"c2s_auth_attempts_total{success}": 1, "c2s_auth_duration_seconds_count": 1})
            client = way(trusting())
            client.open()
            client.drop()
        client = Stream(self.prosody.c2s_port)
        client.open()
        client.drop()
        Stream(self.prosody.c2s_port).drop()
        self.expect({})
        # Its listener is another one now.
        for _ in range(2):
            self.prosody.shell('module:reload("c2s", "*")')
        Stream(self.direct).drop()
        self.expect(failure("closed"))
