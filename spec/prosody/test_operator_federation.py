"""Metrics about other servers: real ones that federate over loopback, and some that only misbehave."""

import asyncio
import collections
import contextlib
import socket
import unittest
from ssl import CERT_REQUIRED, TLSVersion

from federation import STREAM, Authority, Federating, Names, Server, answering
from harness import DEADLINE, Client, free_port, wait_for

OURS = ("prosody_s2s_failures", "prosody_s2s_bounced_stanzas", "prosody_s2s_connect_duration_seconds_count", "prosody_s2s_remote")


def features(text):
    return f"<stream:features>{text}</stream:features>".encode()


STREAM_TO_TLS = (STREAM + features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),)
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def state(prosody):
    """What these families have to say, without what is 0: {"name value1 value2": number}."""
    short = {}
    for (name, labels), value in prosody.samples().items():
        if name.startswith(OURS) and value:
            labels = dict(labels)
            key = [labels[label] for label in ("host", "remote", "direction", "cause") if label in labels]
            short[" ".join([name.removeprefix("prosody_s2s_").removesuffix("_total"), *key])] = value
    return short


@contextlib.asynccontextmanager
async def client_of(prosody, host):
    client = Client("user1", prosody.c2s_port, host=host)
    client.returned = asyncio.Queue()
    client.add_event_handler("message_error", lambda message: client.returned.put_nowait(message["from"].domain))
    await client.log_in()
    try:
        yield client
    finally:
        await client.log_out()


async def bounced(client, domain):
    """Sends a message to somebody there and waits until it is returned."""
    client.send_message(f"somebody@{domain}", "are you there?", mtype="chat")
    while await asyncio.wait_for(client.returned.get(), DEADLINE) != domain:
        pass


class Unreachable(unittest.TestCase):
    """Servers with which nobody can talk."""
    maxDiff = None

    def test_each_has_its_cause(self):
        with contextlib.ExitStack() as stack:
            names, authority = Names(), Authority()
            stack.callback(names.close)
            stack.callback(authority.close)
            for host in ("alpha.example", "other.example"):
                authority.make(host)
            tls12, tls13, untrusting = (authority.tls("other.example", *how) for how in (
                (TLSVersion.TLSv1_2, CERT_REQUIRED), (TLSVersion.TLSv1_3, CERT_REQUIRED), (TLSVersion.TLSv1_3,)))
            servers = {
                "untrusting12.example": Server(*STREAM_TO_TLS, PROCEED, tls12, STREAM),
                "untrusting13.example": Server(*STREAM_TO_TLS, PROCEED, tls13, STREAM),
                "external.example": Server(
                    *STREAM_TO_TLS, PROCEED, untrusting, STREAM + features(
                        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"),
                    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"),
                "dialback.example": Server(
                    *STREAM_TO_TLS, PROCEED, untrusting, STREAM + features("<dialback xmlns='urn:xmpp:features:dialback'/>"),
                    b"<result xmlns='jabber:server:dialback' from='dialback.example' to='alpha.example' type='invalid'/>"),
                "closing.example": Server(),
                "error.example": answering(b"host-unknown"),
                "policy.example": answering(b"policy-violation"),
                "garbage.example": Server(*STREAM_TO_TLS, PROCEED, b"this is no TLS"),
                "unwilling.example": Server(*STREAM_TO_TLS, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            }
            causes = {
                "closing.example": "connection", "error.example": "stream", "policy.example": "policy",
                "untrusting12.example": "rejected", "untrusting13.example": "rejected", "external.example": "rejected",
                "dialback.example": "authentication", "garbage.example": "tls", "unwilling.example": "tls", "closed.example": "refused", "unknown.invalid": "dns",
            }
            for domain, server in servers.items():
                stack.callback(server.close)
                names.ports[domain] = server.port
            names.ports["closed.example"] = free_port()
            prosody = stack.enter_context(Federating(
                names, {"alpha.example": authority.options("alpha.example")}, config="operator = { remotes = 3 };",
            ))
            prosody.serves()
            asyncio.run(self._try(prosody, causes))
            self.assertEqual([line for line in prosody.complaints() if " metre\t" in line], [])
            self.assertNotIn("a cause that is not known", prosody.log())

    async def _try(self, prosody, causes):
        self.assertEqual(state(prosody), {})
        expected = {}
        async with client_of(prosody, "alpha.example") as client:
            before = prosody.samples()
            worst = []
            for number, (domain, cause) in enumerate(causes.items(), 1):
                await bounced(client, domain)
                key = f"failures alpha.example out {cause}"
                expected[key] = expected.get(key, 0) + 1
                worst.append(domain)
                named = {f"remote_failing {name} {causes[name]}": 1 for name in sorted(worst)[:3]}
                self.assertEqual(
                    state(prosody), {**expected, "bounced_stanzas alpha.example": number, "remotes_failing": number, **named}, domain
                )
                after = prosody.samples()
                if cause in ("dns", "refused"):
                    self._assert_that_prosody_counts_nothing(before, after)
                # For direct TLS, for the other way, and the address.
                self.assertEqual(self._lookups(after) - self._lookups(before), {"SRV": 2, "A": 1})
                before = after
            # Twice: it is the worst of all.
            await bounced(client, "closed.example")
            self.assertEqual(state(prosody), {
                **expected, "failures alpha.example out refused": 2, "bounced_stanzas alpha.example": 12, "remotes_failing": 11,
                "remote_failing closed.example refused": 2, "remote_failing closing.example connection": 1,
                "remote_failing dialback.example authentication": 1,
            })

    @staticmethod
    def _lookups(samples):
        return collections.Counter({
            dict(labels)["qtype"]: value for (name, labels), value in samples.items() if name == "prosody_dns_seconds_count"
        })

    def _assert_that_prosody_counts_nothing(self, before, after):
        """Prosody's own counters of connections with other servers see only that one was begun."""
        own = {
            name for (name, labels), value in after.items()
            if name.startswith("prosody_mod_s2s__") and not name.endswith("_created") and value != before.get((name, labels), 0)
        }
        self.assertEqual(own, {"prosody_mod_s2s__initiated_total"})


class Silence(unittest.TestCase):
    """Servers that connect, or let others connect, and say nothing then."""

    def test_both_directions_take_too_long(self):
        with contextlib.ExitStack() as stack:
            names, silent = Names(), Server(closes=False)
            stack.callback(names.close)
            stack.callback(silent.close)
            names.ports["silent.example"] = silent.port
            prosody = stack.enter_context(Federating(names, {"alpha.example": ""}, options="s2s_timeout = 1"))
            prosody.serves()
            asyncio.run(self._try(prosody))

    async def _try(self, prosody):
        async with client_of(prosody, "alpha.example") as client:
            await bounced(client, "silent.example")
            expected = {
                "failures alpha.example out timeout": 1, "bounced_stanzas alpha.example": 1,
                "remotes_failing": 1, "remote_failing silent.example timeout": 1,
            }
            self.assertEqual(state(prosody), expected)
            for to, counts in (("alpha.example", 1), ("elsewhere.example", 0)):
                with socket.create_connection(("127.0.0.1", prosody.s2s_port), DEADLINE) as stranger:
                    stranger.sendall(STREAM.replace(b"id='1'", f"from='stranger.example' to='{to}'".encode()))
                    while stranger.recv(4000):
                        pass
                if counts:
                    expected["failures alpha.example in timeout"] = 1
                self.assertEqual(state(prosody), expected)


class Federation(unittest.TestCase):
    """Two servers that only believe certificates, but for one domain."""

    def test_both_sides_know_who_refuses_whom(self):
        with contextlib.ExitStack() as stack:
            names, authority = Names(), Authority()
            stack.callback(names.close)
            stack.callback(authority.close)
            for host in ("alpha.example", "beta.example", "other.example"):
                authority.make(host)
            authority.make("expired.example", days=-1)
            for host in ("self.example", "dialback.example"):
                authority.make(host, is_trusted=False)
            options = 's2s_secure_auth = true; s2s_insecure_domains = { "dialback.example" }'

            def server(*hosts, **more):
                return stack.enter_context(Federating(names, {host: authority.options(host) for host in hosts}, options=options, **more))
            alpha = server("alpha.example", "self.example", "dialback.example")
            beta = server("beta.example", "expired.example", config="operator = { remotes = 0 };")
            alpha.serves()
            asyncio.run(self._try(alpha, beta))
            for prosody in (alpha, beta):
                self.assertNotIn("a cause that is not known", prosody.log())
                self.assertEqual([line for line in prosody.complaints() if " metre\t" in line], [])

    async def _try(self, alpha, beta):
        async with client_of(alpha, "alpha.example") as client:
            # It isn't there yet.
            await bounced(client, "beta.example")
            before = {"failures alpha.example out refused": 1, "bounced_stanzas alpha.example": 1}
            self.assertEqual(state(alpha), {**before, "remotes_failing": 1, "remote_failing beta.example refused": 1})
            beta.serves()
            async with client_of(beta, "beta.example") as other:
                client.send_message("user1@beta.example", "hello", mtype="chat")
                await other.hears("hello")
                self.assertEqual(state(alpha), {**before, "connect_duration_seconds_count": 1})
                self.assertEqual(state(beta), {})
                other.send_message("user1@alpha.example", "hello, too", mtype="chat")
                await client.hears("hello, too")
                self.assertEqual(state(beta), {"connect_duration_seconds_count": 1})

                # alpha refuses the certificate of a host of beta.
                await bounced(client, "expired.example")
                before.update({"failures alpha.example out certificate": 1, "bounced_stanzas alpha.example": 2})
                now = {"connect_duration_seconds_count": 1, "remotes_failing": 1, "remote_failing expired.example certificate": 1}
                self.assertEqual(state(alpha), {**before, **now})
                seen_by_beta = {"failures expired.example in rejected": 1, "connect_duration_seconds_count": 1}
                wait_for("beta's side", lambda: state(beta) == seen_by_beta)

            # beta refuses the certificate of a host of alpha.
            async with client_of(alpha, "self.example") as client_of_self:
                await bounced(client_of_self, "beta.example")
                before.update({"failures self.example out rejected": 1, "bounced_stanzas self.example": 1})
                now.update({"remotes_failing": 2, "remote_failing beta.example rejected": 1})
                self.assertEqual(state(alpha), {**before, **now})
                seen_by_beta["failures beta.example in certificate"] = 1
                wait_for("beta's side", lambda: state(beta) == seen_by_beta)

            # With that one beta asks back.
            async with client_of(alpha, "dialback.example") as client_of_third, client_of(beta, "beta.example") as other:
                client_of_third.send_message("user1@beta.example", "hello again", mtype="chat")
                await other.hears("hello again")
                del now["remote_failing beta.example rejected"]
                now.update({"connect_duration_seconds_count": 2, "remotes_failing": 1})
                self.assertEqual(state(alpha), {**before, **now})
                seen_by_beta["connect_duration_seconds_count"] = 2
                self.assertEqual(state(beta), seen_by_beta)
                # beta names nobody.
                await bounced(other, "unknown.invalid")
                seen_by_beta.update({
                    "failures beta.example out dns": 1, "bounced_stanzas beta.example": 1, "remotes_failing": 1,
                })
                self.assertEqual(state(beta), seen_by_beta)
                self.assertNotIn("unknown.invalid", beta.scrape())
                self.assertNotIn("prosody_s2s_remote_failing", beta.scrape())

        # Connections that end as a server goes are no failures.
        beta.stop()
        wait_for("the end of all connections", lambda: "system-shutdown" in alpha.log())
        self.assertEqual(state(alpha), {**before, **now})


if __name__ == "__main__":
    unittest.main()
