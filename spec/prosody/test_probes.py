"""The exporter's probes, and an exporter that is configured from the environment, in a real Prosody."""

import threading
import time
import unittest

from harness import Exporting, wait_for


class Probes(unittest.TestCase):
    def test_ready_as_long_as_the_loop_answers(self):
        with Exporting('allow = "127.0.0.2"; bearer_token_file = "/nowhere"; probes = "all";') as prosody:
            prosody.serves()

            def ready():
                status, _, body = prosody.get("/-/ready")
                return status, body.decode()
            wait_for("readiness", lambda: ready() == (200, "200 OK\n"))
            self.assertEqual(prosody.get()[0], 403)
            ctl = threading.Thread(target=prosody.shell, args=["> require 'socket'.sleep(12)"])
            ctl.start()
            told = wait_for("the silence", lambda: ready()[0] == 503 and ready()[1])
            self.assertRegex(told, r"\AProsody's event loop has not answered for \d+\.\d s\n\Z")
            self.assertEqual(prosody.get("/-/healthy")[0], 200)
            ctl.join()
            wait_for("readiness again", lambda: ready() == (200, "200 OK\n"))

    def test_a_probe_wakes_nobody(self):
        with Exporting('probes = "allow";') as prosody:
            prosody.serves()
            wait_for("readiness", lambda: prosody.get("/-/ready")[0] == 200)
            beats = ("metre_event_loop_lag_seconds_count", ())
            asked = "/metrics?name[]=metre_event_loop_lag_seconds"
            first, start = prosody.samples(asked)[beats], time.monotonic()
            for _ in range(500):
                self.assertEqual(prosody.get("/-/ready")[0], 200)
            wait_for("some beats", lambda: prosody.samples(asked)[beats] >= first + 3)
            self.assertLessEqual(prosody.samples(asked)[beats] - first, (time.monotonic() - start) / 0.9 + 1)


class FromTheEnvironment(unittest.TestCase):
    def test_text_is_taken_for_what_it_is_for(self):
        given = """
            listen = ENV_METRE_LISTEN; allow = ENV_METRE_ALLOW; max_connections = ENV_METRE_MOST; idle_timeout = ENV_METRE_NOTHING;
        """
        with Exporting(given, config="self_metrics = ENV_METRE_SELF; process_metrics = ENV_METRE_NOTHING") as prosody:
            path = prosody.directory / "metrics.sock"
            prosody.environment.update(
                METRE_LISTEN=f"{prosody.exporter}, unix://{path}", METRE_ALLOW="127.0.0.0/8,::1", METRE_MOST="20", METRE_SELF="false",
                METRE_NOTHING="",
            )
            prosody.serves()
            names = {name for name, _ in prosody.samples()}
            self.assertEqual([name for name in names if name.startswith("metre_")], [])
            self.assertIn("process_cpu_seconds_total", names)
            wait_for("the socket", path.exists)
            self.assertIn(f"Serving metrics at unix:{path}", prosody.log())

    def test_nothing_opens_nothing(self):
        with Exporting("bearer_token_file = ENV_METRE_TOKEN;") as prosody:
            prosody.environment["METRE_TOKEN"] = ""
            prosody.start()
            wait_for("the error", lambda: "statistics_config: 'exporter.bearer_token_file' is " in prosody.log())
            self.assertRaises(OSError, prosody.get)


if __name__ == "__main__":
    unittest.main()
