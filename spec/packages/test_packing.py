"""What is in the packages, and that the same sources make the same bytes, whoever packs them, where and when."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from clean_root import ROOT

sys.path.insert(0, str(ROOT / "packaging"))

import common  # noqa: E402

MODULES = sorted((ROOT / "target/lua").glob("*/*.so"))
# Of a machine that differs in what it can.
ODD = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nonexistent"}


def output(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, **options).stdout


def sums(directory):
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextlib.contextmanager
def copied():
    """The sources and what was built from them, elsewhere."""
    with tempfile.TemporaryDirectory(prefix="metre sources ") as directory:
        copy = pathlib.Path(directory) / "copy"
        shutil.copytree(ROOT, copy, ignore=lambda place, names: ["target"] if pathlib.Path(place) == ROOT else [])
        for module in MODULES:
            place = copy / module.relative_to(ROOT)
            place.parent.mkdir(parents=True)
            shutil.copyfile(module, place)
        yield copy


class Packing(unittest.TestCase):
    def test_the_same_bytes_again(self):
        # Cargo's own files stay where they are, wherever HOME is.
        home = {"CARGO_HOME": os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")),
                "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup"))}
        with copied() as copy:
            packed = ["rocks", "deb"]
            subprocess.run(["make", "--no-print-directory", *packed], cwd=copy, env={**os.environ, **home, **ODD}, umask=0o077,
                           stdout=subprocess.DEVNULL, check=True)
            for kind in packed:
                self.assertEqual(sums(ROOT / "target" / kind), sums(copy / "target" / kind))

    def test_nothing_of_the_builder(self):
        self.assertEqual(["5.1", "5.2", "5.3", "5.4", "jit"], [module.parent.name for module in MODULES])
        sysroot = output("rustc", "--print", "sysroot", text=True).strip()
        places = [str(ROOT), os.path.expanduser("~"), sysroot, "/registry/src", "/toolchains"]
        for module in MODULES:
            content = module.read_bytes()
            self.assertTrue(b"crates/" in content, f"{module}: where a panic came from is still to be seen")
            self.assertEqual([], [place for place in places if f"{place}/".encode() in content], module)

    def test_modes_and_owners(self):
        listed = output("dpkg-deb", "-c", *(ROOT / "target/deb").glob("*.deb"), text=True).splitlines()
        for line in listed:
            mode, owner, *_, path = line.split()
            executable = path.endswith("/") or path == "./usr/bin/metre"
            self.assertEqual("rwxr-xr-x" if executable else "rw-r--r--", mode[1:], path)
            self.assertEqual("root/root", owner)

    def test_no_scripts(self):
        # Nothing that could restart Prosody or touch its configuration.
        with tempfile.TemporaryDirectory() as directory:
            output("dpkg-deb", "-e", *(ROOT / "target/deb").glob("*.deb"), directory)
            self.assertEqual({"control", "md5sums"}, set(os.listdir(directory)))

    def test_licences_of_what_is_linked_in(self):
        with tempfile.TemporaryDirectory() as directory:
            output("dpkg-deb", "-x", *(ROOT / "target/deb").glob("*.deb"), directory)
            text = (pathlib.Path(directory) / "usr/share/doc/prosody-metre/copyright").read_text()
            self.assertIn("Copyright (c) 2026 The metre authors", text)
            module = next(pathlib.Path(directory).rglob("*.so")).read_bytes()
        crates = set(re.findall(rb"crates/([\w.+-]+)/src", module))
        self.assertGreater(len(crates), 20)
        for crate in crates:
            self.assertIn(f"  {crate.decode()}: ", text)

    def test_whose_time(self):
        def epoch(copy, **environment):
            code = "import common; print(common.epoch())"
            return int(output(sys.executable, "-B", "-c", code, cwd=copy / "packaging", env={"PATH": os.environ["PATH"], **environment}))

        with tempfile.TemporaryDirectory() as directory:
            copy = pathlib.Path(directory) / "unpacked"
            shutil.copytree(ROOT / "packaging", copy / "packaging")
            (copy / "CHANGELOG.md").write_text("## Unreleased\n\n## [0.2.0] - 2027-03-01\n\n## [0.1.0] - 2026-12-01\n")
            self.assertEqual(1803859200, epoch(copy))
            self.assertEqual(2000000000, epoch(copy, SOURCE_DATE_EPOCH="2000000000"))
            (copy / "CHANGELOG.md").write_text("## Unreleased\n")
            self.assertEqual(common.EARLIEST, epoch(copy))
            # Somebody else's repository around it says nothing about it; its own does.
            for place, expected in ((directory, common.EARLIEST), (copy, 1900000000)):
                git = ["git", "-C", place, "-c", "user.name=nobody", "-c", "user.email=nobody@metre.invalid"]
                output(*git, "init", "--quiet")
                dated = {**os.environ, "GIT_AUTHOR_DATE": "1900000000 +0900", "GIT_COMMITTER_DATE": "1900000000 +0900"}
                output(*git, "commit", "--quiet", "--allow-empty", "-m", "nothing", env=dated)
                self.assertEqual(expected, epoch(copy))
