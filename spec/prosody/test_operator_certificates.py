"""When certificates end: what Prosody serves, by OpenSSL's client, and what is in the files."""

import contextlib
import os
import unittest

from federation import Authority, Federating, Names, not_after, openssl
from harness import free_port, wait_for

FAMILY = "prosody_certificate_not_after_timestamp_seconds"


def known(prosody):
    """{"host service": (loaded, file)}"""
    times = {}
    for (name, labels), value in prosody.samples().items():
        if name == FAMILY:
            labels = dict(labels)
            times.setdefault(f"{labels['host']} {labels['service']}".strip(), {})[labels["state"]] = value
    return {name: (time.get("loaded"), time.get("file")) for name, time in times.items()}


def served(port, *options):
    """When the certificate ends that a client sees."""
    seen = openssl("s_client", "-connect", f"127.0.0.1:{port}", *options, input=b"")
    return not_after(openssl("x509", "-noout", "-enddate", input=seen.encode()))


class Certificates(unittest.TestCase):
    def setUp(self):
        with contextlib.ExitStack() as stack:
            names, self.authority = Names(), Authority()
            stack.callback(names.close)
            stack.callback(self.authority.close)
            self.ends = {host: self.authority.make(host, days) for host, days in {
                "alpha.example": 20, "beta.example": -1, "delta.example": 30, "s2s.example": 10_000, "files.example": 40,
            }.items()}
            self.ends["web.example"] = self.authority.make("web.example", 27, is_trusted=False)
            self.https_port, self.direct_port = free_port(), free_port()
            files = self._pair("files.example")
            self.prosody = stack.enter_context(Federating(names, {
                "alpha.example": self._certificate("alpha.example"),
                "beta.example": self._certificate("beta.example") + f'; http_host = "files.example"; https_ssl = {files}',
                "delta.example": self._certificate("delta.example") + f"; s2s_ssl = {self._pair('s2s.example')}",
            }, options=f"""
                https_ports = {{ {self.https_port} }}
                https_ssl = {self._pair("web.example")}
                c2s_direct_tls_ports = {{ {self.direct_port} }}
            """))
            # The only one that Prosody finds by itself; it is for ports that have none, too.
            for kind in ("crt", "key"):
                os.symlink(f"{self.authority.directory}/files.example.{kind}", self.prosody.directory / f"certs/files.example.{kind}")
            self.prosody.serves()
            self.addCleanup(stack.pop_all().close)

    def _pair(self, host):
        return f'{{ certificate = "{self._path(host)}"; key = "{self._path(host, "key")}" }}'

    def _certificate(self, host):
        return f'certificate = "{self._path(host)}"'

    def _path(self, host, kind="crt"):
        return f"{self.authority.directory}/{host}.{kind}"

    def _served_to(self, host, kind="xmpp"):
        return served(self.prosody.s2s_port if kind == "xmpp-server" else self.prosody.c2s_port, "-starttls", kind, "-xmpphost", host)

    def test_what_is_loaded_and_what_is_on_disk(self):
        prosody, ends = self.prosody, self.ends
        expected = {
            "alpha.example xmpp": ends["alpha.example"], "beta.example xmpp": ends["beta.example"],
            "delta.example c2s": ends["delta.example"], "delta.example s2s": ends["s2s.example"],
            "https": ends["web.example"], "c2s_direct_tls": ends["files.example"], "beta.example https": ends["files.example"],
        }
        expected = {name: (time, time) for name, time in expected.items()}
        self.assertEqual(known(prosody), expected)
        self.assertEqual(self._served_to("alpha.example"), ends["alpha.example"])
        self.assertEqual(self._served_to("beta.example"), ends["beta.example"])
        self.assertEqual(self._served_to("delta.example"), ends["delta.example"])
        self.assertEqual(self._served_to("delta.example", "xmpp-server"), ends["s2s.example"])
        self.assertEqual(served(self.https_port), ends["web.example"])
        self.assertEqual(served(self.https_port, "-servername", "files.example"), ends["files.example"])
        self.assertEqual(served(self.direct_port), ends["files.example"])

        with self.subTest("renewed, without a reload"):
            own = self._own_metrics()
            self.assertTrue(own)
            old, new = ends["alpha.example"], self.authority.make("alpha.example", 200)
            expected["alpha.example xmpp"] = (old, new)
            old_web, new_web = ends["web.example"], self.authority.make("web.example", 300, is_trusted=False)
            expected["https"] = (old_web, new_web)
            self.assertEqual(known(prosody), expected)
            self.assertEqual(self._own_metrics(), own, "Prosody has nothing that tells")
            self.assertEqual(self._served_to("alpha.example"), old)
            self.assertEqual(served(self.https_port), old_web)

        with self.subTest("reloaded"):
            prosody.reload()
            wait_for("the reload", lambda: known(prosody)["alpha.example xmpp"] == (new, new))
            self.assertEqual(self._served_to("alpha.example"), new)
            expected["alpha.example xmpp"] = (new, new)
            # Both Prosodys go on with what the port was opened with.
            expected["https"] = (served(self.https_port), new_web)
            self.assertEqual(known(prosody), expected)

        with self.subTest("only one module reloaded"):
            again = self.authority.make("delta.example", 100)
            prosody.shell('module:reload("tls", "delta.example")')
            expected["delta.example c2s"] = (again, again)
            self.assertEqual(known(prosody), expected)
            self.assertEqual(self._served_to("delta.example"), again)

        with self.subTest("no certificate in the file"):
            path = self.authority.directory / "alpha.example.crt"
            certificate = path.read_text()
            path.write_text("-----BEGIN CERTIFICATE-----\n")
            expected["alpha.example xmpp"] = (new, None)
            for _ in range(3):
                self.assertEqual(known(prosody), expected)
            self.assertEqual(self._served_to("alpha.example"), new)
            self.assertEqual(prosody.log().count(f"The certificate file {path}, which Prosody has loaded, can't be read any more"), 1)
            path.unlink()
            self.assertEqual(known(prosody), expected)
            # That leaves Prosody without one.
            prosody.reload()
            del expected["alpha.example xmpp"]
            wait_for("the reload", lambda: known(prosody) == expected)
            self.assertRaises(AssertionError, self._served_to, "alpha.example")
            path.write_text(certificate)
            prosody.reload()
            expected["alpha.example xmpp"] = (new, new)
            wait_for("another reload", lambda: known(prosody) == expected)
            self.assertEqual(self._served_to("alpha.example"), new)

        with self.subTest("hosts that go and come"):
            prosody.shell('host:deactivate("alpha.example")')
            self.assertEqual(known(prosody), {name: time for name, time in expected.items() if not name.startswith("alpha")})
            prosody.shell('host:activate("alpha.example")')
            self.assertEqual(known(prosody), expected)

        with self.subTest("no TLS any more"):
            prosody.shell('module:unload("tls", "alpha.example")')
            # That port is still open for it.
            self.assertEqual(served(self.direct_port, "-servername", "alpha.example"), new)
            del expected["alpha.example xmpp"]
            self.assertEqual(known(prosody), {**expected, "alpha.example c2s_direct_tls": (new, new)})
            prosody.shell('module:load("tls", "alpha.example")')
            expected["alpha.example xmpp"] = (new, new)
            self.assertEqual(known(prosody), expected)

    def _own_metrics(self):
        """What Prosody itself says of certificates and TLS."""
        return {
            key: value for key, value in self.prosody.samples().items()
            if key[0].startswith("prosody_mod_") and any(word in key[0] for word in ("tls", "encrypted", "certs"))
        }


if __name__ == "__main__":
    unittest.main()
