"""The operator pack in a Prosody that is set up as for Jitsi: guests by BOSH and WebSocket, rooms on several hosts, a component."""

import contextlib
import unittest

from harness import HOST, PASSWORD, free_port, wait_for
from operator_clients import SASL, Bosh, Stream, WebSocket
from operator_servers import SECRET, Component
from operator_tools import OnPort, complaints, of_host, of_pack

AUTH, ROOMS, BREWERY, FOCUS = f"auth.{HOST}", f"conference.{HOST}", f"internal.auth.{HOST}", f"focus.{HOST}"
HOSTS = f"""
    VirtualHost "{HOST}"
        authentication = "anonymous"
    VirtualHost "{AUTH}"
        authentication = "internal_plain"
    Component "{ROOMS}" "muc"
        muc_room_locking = false
    Component "{BREWERY}" "muc"
        muc_room_locking = false
    Component "{FOCUS}"
        component_secret = "{SECRET}"
"""


def be_guest(client, resource):
    client.open()
    client.ask(f"<auth {SASL} mechanism='ANONYMOUS'/>", "<success")
    client.open()
    return client.bind(resource)


def join(client, room, nick):
    client.ask(f"<presence xmlns='jabber:client' to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "code=['\"]110['\"]")


class Jitsi(unittest.TestCase):
    def test_a_meeting(self):
        component_port = free_port()
        options = f"component_ports = {{ {component_port} }}; consider_bosh_secure = true; consider_websocket_secure = true"
        modules = ["bosh", "websocket", "limits", "register_ibr"]
        with OnPort(HOSTS, settings="collect_min_interval = 0;", options=options, modules=modules).serves() as prosody:
            accounts = prosody.directory / "data" / AUTH.replace(".", "%2e") / "accounts"
            accounts.mkdir(parents=True)
            (accounts / "focus.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')
            self.assertEqual(prosody.samples()["prosody_component_connected", (("host", FOCUS),)], 0)

            focus = Component(component_port, FOCUS)
            wait_for("the component", lambda: prosody.samples()["prosody_component_connected", (("host", FOCUS),)] == 1)
            jicofo = Stream(prosody.c2s_port)
            jicofo.log_in("focus", "focus", AUTH)
            join(jicofo, f"brewery@{BREWERY}", "focus")
            guests = [Bosh(prosody.http_port), Bosh(prosody.http_port), WebSocket(prosody.http_port)]
            jids = [be_guest(guest, f"guest{number}") for number, guest in enumerate(guests)]
            for number, guest in enumerate(guests):
                join(guest, f"meeting@{ROOMS}", f"guest{number}")
            guests[2].send(f"<message xmlns='jabber:client' to='meeting@{ROOMS}' type='groupchat'><body>hello</body></message>")
            for guest in guests:
                guest.hear("<body>hello</body>")
            focus.send(f"<message to='{jids[2]}' from='{FOCUS}'><body>from the component</body></message>")
            guests[2].hear("from the component")
            guests[0].ask(f"<iq xmlns='jabber:client' type='get' to='{HOST}' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "type=['\"]result['\"]")

            samples = prosody.samples()
            for name, host, value in (
                ("prosody_muc_rooms", ROOMS, 1), ("prosody_muc_occupants", ROOMS, 3), ("prosody_muc_joins_total", ROOMS, 3),
                ("prosody_muc_rooms", BREWERY, 1), ("prosody_muc_occupants", BREWERY, 1),
                ("prosody_users_online", HOST, 3), ("prosody_sessions_opened_total", HOST, 3), ("prosody_sessions_opened_total", AUTH, 1),
            ):
                self.assertEqual(samples[name, (("host", host),)], value, (name, host))
            for host, successes in ((HOST, 3), (AUTH, 1)):
                self.assertEqual(samples["prosody_c2s_auth_attempts_total", (("host", host), ("result", "success"))], successes)
            self.assertLessEqual(len(of_pack(samples)), 350 + 4 * 90)
            for host in (HOST, AUTH, ROOMS, BREWERY, FOCUS):
                self.assertGreater(len(of_host(samples, host)), 5)

            for guest in guests:
                with contextlib.suppress(EOFError, OSError):
                    guest.close()
            jicofo.close()
            focus.close()
            gone = (("host", HOST),)
            wait_for("all to go", lambda: prosody.samples()["prosody_users_online", gone] == 0)
            wait_for("the component to go", lambda: prosody.samples()["prosody_component_connected", (("host", FOCUS),)] == 0)
            self.assertEqual(prosody.samples()["prosody_muc_occupants", (("host", ROOMS),)], 0)
            prosody.stop()
            # A component that goes is worth a warning.
            self.assertEqual([line for line in complaints(prosody) if f" {FOCUS}:component\t" not in line], [])
