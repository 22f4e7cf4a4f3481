"""Installs each package as a user does in a clean Debian, and has Debian's Prosody run on it.

Debian's Prosody is for Lua 5.4, and so are its binary modules; the rocks for the others are loaded by their plain Lua.
"""

import contextlib
import fcntl
import functools
import http.server
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from clean_root import ENVIRONMENT, ROOT, CleanRoot, Prosody, parse

ROCKS = ROOT / "target/rocks"
DEB = next((ROOT / "target/deb").glob("*.deb"))
PACKAGE = "prosody-metre"
INSTALLER_TREE = "/var/lib/prosody/custom_plugins"
TRY = """
    local registry = require "metre".new().metric_registry;
    registry:counter("tried"):with_labels():add(1);
    assert(registry:render():find("tried_total 1\\n", 1, true));
    print(_VERSION, debug.getinfo(require "metre".new, "S").source, "fine");
"""
# luarocks.org is not to be asked; --server of prosodyctl, and of luarocks, adds to those of the configuration.
NO_SERVERS = "rocks_servers = {}\n"

root = None


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def rocks_server():
    """The address of a plain web server of target/rocks."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=ROCKS))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def setUpModule():
    global root
    began = time.monotonic()
    root = CleanRoot()
    unittest.addModuleCleanup(root.close)
    print(f"a clean Debian: {time.monotonic() - began:.0f} s", flush=True)


class Installing(unittest.TestCase):
    def served(self, prosody):
        """Starts Prosody, which shall show metre's metrics and its own."""
        prosody.start()
        names = {name for name, _ in parse(prosody.page())}
        self.assertIn("metre_build_info", names)
        self.assertIn("process_cpu_seconds_total", names)
        self.assertTrue([name for name in names if name.startswith("prosody_")])

    def upgraded(self):
        """The package with a later version, as an upgrade finds it."""
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(["dpkg-deb", "-R", DEB, f"{directory}/tree"], check=True)
            control = pathlib.Path(f"{directory}/tree/DEBIAN/control")
            control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 9", 1))
            subprocess.run(["dpkg-deb", "-b", f"{directory}/tree", f"{directory}/later.deb"], check=True, stdout=subprocess.DEVNULL)
            return root.put(f"{directory}/later.deb")

    def test_0_setup_waits_for_another_package_run(self):
        setup = root.put(ROOT / ".ci/setup")
        root.run("apt-get", "update")
        for lock in ("var/lib/dpkg/lock-frontend", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"):
            with self.subTest(lock), open(root.path / lock, "w") as held:
                fcntl.lockf(held, fcntl.LOCK_EX)
                lines = []
                with subprocess.Popen(root.command(setup, "soak"), env=ENVIRONMENT, text=True, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
                    for line in running.stdout:
                        lines.append(line)
                        if "Waiting for another package run" in line:
                            held.close()
                self.assertEqual(0, running.returncode, lines)
                self.assertEqual(["Installing", "Waiting"], [line.split()[0] for line in lines], "said once")
                self.assertIn(lock, lines[1])
                root.run("faketime", "--version")
                root.run("apt-get", "-y", "purge", "faketime", "libfaketime")

    def test_1_debian_package(self):
        began = time.monotonic()
        root.run("apt-get", "update")
        root.install("prosody", root.put(DEB))
        with Prosody(root) as prosody:
            configuration = prosody.config.read_text()
            self.served(prosody)
            print(f"from a clean Debian to a scraped metric: {time.monotonic() - began:.1f} s", flush=True)

            self.assertIn("no mistakes found", root.run("metre", "check", user="prosody"))
            self.assertNotIn("prosody-metre", root.run("dpkg", "--verify"))
            for step in (["install", self.upgraded()], ["remove", PACKAGE]):
                with self.subTest(step):
                    root.run("apt-get", "-y", *step)
                    self.assertTrue(prosody.is_alive(), "packages shall not restart Prosody")
                    self.assertIn("metre_build_info{", prosody.page())
            self.assertIn("no packages found", root.run("dpkg-query", "-W", PACKAGE, check=False), "there is nothing left to purge")
            self.assertEqual(prosody.config.read_text(), configuration)
            self.assertEqual(0, prosody.stop())

            # Configured and not there: Prosody says so and runs on.
            prosody.start()
            prosody.logged("Error loading statistics provider 'metre'")
            self.assertTrue(prosody.is_alive())
        self.assertEqual(set(), {path for path in root.files() if "metre" in path})

    def test_2_rocks(self):
        root.install("luarocks", "lua5.1", "lua5.2", "lua5.3", "lua5.4", "luajit")
        (root.path / "etc/luarocks").mkdir(exist_ok=True)
        with rocks_server() as address:
            for version in ("5.1", "5.2", "5.3", "5.4"):
                with self.subTest(version):
                    self.check_rock(version, f"{address}/{version}")
            with self.subTest("a rock for another Lua"):
                wrong = ["luarocks", "--lua-version=5.1", "--tree=/opt/wrong", "install", f"--only-server={address}/5.4"]
                self.assertIn("No results matching query were found for Lua 5.1", root.run(*wrong, "metre", check=False))
                self.assertIn("lua ~> 5.4", root.run(*wrong, root.put(rock("5.4")), check=False))
                self.assertFalse((root.path / "opt/wrong/share/lua/5.1/metre.lua").exists())

    def check_rock(self, version, address):
        tree = f"/opt/rocks-{version}"
        luarocks = ["luarocks", f"--lua-version={version}", f"--tree={tree}"]
        root.run(*luarocks, "install", f"--only-server={address}", "metre")
        for lua in [f"lua{version}", *(["luajit"] if version == "5.1" else [])]:
            path = f'package.path = "{tree}/share/lua/{version}/?.lua"; package.cpath = "{tree}/lib/lua/{version}/?.so";'
            said = root.run(lua, "-e", path + TRY)
            self.assertIn("fine", said)
        toml = root.put(ROOT / "docs/metre.toml")
        self.assertIn("no mistakes found", root.run(f"{tree}/bin/metre", "check", toml))
        self.assertIn("LICENSES-OF-CRATES", root.run("find", tree))
        # What luarocks makes of it when it packs what it has installed is what we packed.
        root.run("sh", "-c", f"cd /tmp && luarocks --lua-version={version} --tree={tree} pack metre")
        theirs = root.path / "tmp" / rock(version).name
        self.assertEqual(contents(rock(version)), contents(theirs))
        theirs.unlink()
        root.run(*luarocks, "remove", "metre")
        self.assertEqual("", root.run("find", tree, "-name", "metre*", "-not", "-name", "manifest*"))

    def test_3_rock_for_prosody(self):
        with rocks_server() as address, Prosody(root) as prosody:
            luarocks = ["luarocks", "--lua-version=5.4"]
            before = root.files()
            root.run(*luarocks, "install", f"--only-server={address}/5.4", "metre")
            self.served(prosody)
            self.assertIn("no mistakes found", root.run("metre", "check", user="prosody"))
            # Replaced and removed under a running Prosody.
            root.run(*luarocks, "install", "--force", f"--only-server={address}/5.4", "metre")
            self.assertIn("metre_build_info{", prosody.page())
            root.run(*luarocks, "remove", "metre")
            self.assertIn("metre_build_info{", prosody.page())
            self.assertEqual(0, prosody.stop())
            self.assertEqual(set(), {path for path in root.files() - before if "metre" in path})

    def test_4_prosodyctl(self):
        (root.path / "etc/luarocks/config-5.4.lua").write_text(NO_SERVERS)
        with rocks_server() as address, Prosody(root) as prosody:
            said = root.run("prosodyctl", "install", f"--server={address}/5.4", "metre")
            self.assertIn(f"metre {DEB.name.split('_')[1]} is now installed in {INSTALLER_TREE}", said)
            self.assertIn("metre", root.run("prosodyctl", "list"))
            self.served(prosody)
            root.run("prosodyctl", "install", f"--server={address}/5.4", "metre")
            self.assertIn("metre_build_info{", prosody.page())
            self.assertEqual(0, prosody.stop())

            root.run("prosodyctl", "remove", "metre")
            self.assertEqual("", root.run("find", INSTALLER_TREE, "-name", "metre*"))
            said = root.run("prosodyctl", "install", f"--server={address}/5.1", "metre", check=False)
            self.assertIn("No results matching query were found for Lua 5.4", said)


def rock(version):
    return next((ROCKS / version).glob("*.rock"))


def contents(packed):
    """What is in a rock, by path, without the list of sums, whose order is luarocks' own."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.unpack_archive(packed, directory, "zip")
        files = [file for file in pathlib.Path(directory).rglob("*") if file.is_file() and file.name != "rock_manifest"]
        return {str(file.relative_to(directory)): file.read_bytes() for file in files}


if __name__ == "__main__":
    unittest.main()
