"""Lines and bytes that the operator pack adds to the page, by the number of hosts: at once, and when there was something to count."""

import base64
import contextlib
import re
import shutil
import socket
import subprocess

from harness import DEADLINE, HOST, ROOMS, ROOT, Exporting
from raw_clients import OPENING, RawClient
from turns import LUAS

HOSTS = [1, 5, 50]
# Lines that aren't comments.
OF_THE_FIRST, OF_EACH_OTHER = 350, 90

# Debian's configuration, and what people commonly add to it.
MODULES = """
    blocklist bookmarks bosh carbons dialback disco http_file_share invites limits mam offline pep ping private
    register register_ibr s2s s2s_auth_certs server_contact_info time tls uptime vcard4 vcard_legacy version websocket
""".split()


def names_of_families():
    script = f"for name in pairs(dofile('{ROOT}/lua/metre/operator/families.lua')) do print(name) end"
    return set(subprocess.run([LUAS["5.4"], "-e", script], check=True, capture_output=True, text=True).stdout.split())


def other_hosts(count):
    return [f"host{number:02}.{HOST}" for number in range(2, count + 1)]


class Usual(Exporting):
    """A Prosody with that many hosts, certificates for them, rooms and the usual modules."""

    def __init__(self, hosts, **more):
        super().__init__(
            modules=MODULES,
            options="modules_disabled = {} s2s_ports = {} allow_registration = true", log_level="info", **more,
        )
        self.hosts = [HOST, *other_hosts(hosts)]
        with self.config.open("a") as config:
            print('modules_enabled = { "muc_mam" }', file=config)
            for host in self.hosts[1:]:
                print(f'VirtualHost "{host}"', file=config)
        key, certificate = self.directory / "key", self.directory / "certificate"
        names = ",".join(f"DNS:{host}" for host in [*self.hosts, ROOMS])
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName={names}",
             "-days", "30", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )
        for host in [*self.hosts, ROOMS]:
            shutil.copy(key, self.directory / f"certs/{host}.key")
            shutil.copy(certificate, self.directory / f"certs/{host}.crt")
        self.add_users(3)
        accounts = self.directory / "data"
        for host in self.hosts[1:]:
            shutil.copytree(accounts / HOST, accounts / host.replace(".", "%2e"))


def fail_to_log_in(prosody, host):
    """A wrong password, and a mechanism that nobody has."""
    wrong = base64.b64encode(b"\0user1\0wrong").decode()
    with socket.create_connection(("127.0.0.1", prosody.c2s_port), DEADLINE) as client:
        client.sendall((OPENING % host).encode())
        for mechanism in ("PLAIN", "X-UNKNOWN"):
            client.sendall(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{wrong}</auth>".encode())
            received = b""
            while b"</failure>" not in received:
                received += client.recv(65536)


def ask_much(client):
    """Requests to all kinds of modules, answered or refused."""
    own = client.name.partition("/")[0]
    host = own.partition("@")[2]
    queries = [
        ("get", host, "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
        ("get", host, "<query xmlns='http://jabber.org/protocol/disco#items'/>"),
        ("get", host, "<ping xmlns='urn:xmpp:ping'/>"),
        ("get", host, "<nobody xmlns='urn:example:knows'/>"),
        ("get", own, "<vCard xmlns='vcard-temp'/>"),
        ("set", own, "<vCard xmlns='vcard-temp'><FN>User</FN></vCard>"),
        ("get", own, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
        ("set", own, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
        ("set", own, f"<query xmlns='jabber:iq:roster'><item jid='user2@{host}'/></query>"),
        ("get", own, "<blocklist xmlns='urn:xmpp:blocking'/>"),
        ("set", own, "<block xmlns='urn:xmpp:blocking'><item jid='somebody@example.org'/></block>"),
        ("set", own, "<query xmlns='urn:xmpp:mam:2'/>"),
        ("set", own, "<enable xmlns='urn:xmpp:carbons:2'/>"),
        ("set", own, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:mood'><item id='1'>"
                     "<mood xmlns='http://jabber.org/protocol/mood'><happy/></mood></item></publish></pubsub>"),
        ("get", f"user2@{host}", "<query xmlns='jabber:iq:last'/>"),
        ("get", f"nobody@{host}", "<query xmlns='jabber:iq:last'/>"),
    ]
    for number, (kind, to, query) in enumerate(queries):
        answer = client.ask(f"<iq type='{kind}' id='q{number}' to='{to}'>{query}</iq>", f"id='q{number}'")
        while b"</iq>" not in answer and b"/>" not in answer:
            answer += client.socket.recv(65536)
    client.ask(f"<message to='user3@{host}' type='chat'><body>For later</body></message><iq type='get' id='last' to='{host}'/>", "id='last'")
    client.ask(f"<message to='nobody@{host}' type='chat'><body>For nobody</body></message>", "service-unavailable")
    client.ask(f"<presence to='room@{ROOMS}/{host}'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "<subject")
    client.ask(f"<message to='room@{ROOMS}' type='groupchat'><body>For all</body></message>", "For all")


def use(prosody):
    """Something of everything, on each host."""
    for host in prosody.hosts:
        fail_to_log_in(prosody, host)
        with RawClient("user1", prosody.c2s_port, host) as one, RawClient("user2", prosody.c2s_port, host) as other:
            one.send_messages(other, 10)
            ask_much(one)
            other.log_out()
        with RawClient("user3", prosody.c2s_port, host) as offline:
            offline.log_out()


def measure(page, families):
    """Lines that aren't comments, and bytes: of these families, and of all."""
    ours, rest = [0, 0], [0, 0]
    counted = rest
    for line in page.splitlines():
        if header := re.match(r"# (?:HELP|TYPE|UNIT) (\S+)", line):
            counted = ours if header[1] in families else rest
        counted[0] += not line.startswith("#")
        counted[1] += len(line.encode()) + 1
    return ours, [of_ours + of_rest for of_ours, of_rest in zip(ours, rest)]


def show(report):
    """Returns what is beyond its bound."""
    families = names_of_families()
    rows, beyond = [], []
    for hosts in HOSTS:
        # The component is one, too.
        bound = OF_THE_FIRST + OF_EACH_OTHER * hosts
        with contextlib.ExitStack() as stack:
            off = stack.enter_context(Usual(hosts, config="operator = false;")).serves()
            on = stack.enter_context(Usual(hosts)).serves()
            for when in ("at once", "after use"):
                if when == "after use":
                    use(on)
                    use(off)
                nothing, without = measure(off.scrape(), families)
                if nothing != [0, 0]:
                    raise AssertionError(f"operator = false, and {nothing} lines and bytes are there")
                ours, _ = measure(on.scrape(), families)
                rows.append([f"{hosts} host{'s' * (hosts > 1)} and rooms, {when}", *without, *ours, bound])
                if ours[0] > bound:
                    beyond.append(f"the page with {hosts} hosts, {when}: {ours[0]:,} lines, {bound:,} are the bound")
    report.table(
        "What the pack adds to a page; the usual modules are there, and the component for rooms counts as a host",
        ["", "lines without it", "bytes without it", "lines more", "bytes more", "lines, bound"], rows,
    )
    return beyond
