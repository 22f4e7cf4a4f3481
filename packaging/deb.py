"""Packs what `make install` installs into a package for Debian's Prosody. Usage: deb.py DIRECTORY."""

import gzip
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import licences
from common import ROOT, documents, epoch, version

# After what it is for: Debian's names in lua- are libraries for several Lua versions, this one is for Prosody's.
NAME = "prosody-metre"
LUA = "5.4"
RELEASE = version() + "-1"
# Nobody reads mail there.
AUTHORS = "The metre authors <metre@metre.invalid>"
DESCRIPTION = """\
native statistics provider for the Prosody XMPP server
 Prosody counts and measures what it does by a statistics provider. This one
 keeps its metrics in a native store, serves them to Prometheus from threads
 of its own, and pushes them to statsd servers. It is chosen by the line
 statistics = ":metre" in Prosody's configuration, which this package does
 not touch.
"""


def output(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout.strip()


def compressed(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def write_documents(tree):
    place = tree / "usr/share/doc" / NAME
    for path, file in documents():
        if path != "CHANGELOG.md":
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / path)
    compressed(place / "changelog.gz", (ROOT / "CHANGELOG.md").read_text())
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch()))
    compressed(place / "changelog.Debian.gz", f"""\
{NAME} ({RELEASE}) unstable; urgency=medium

  * metre {version()}; what is new there is in changelog.gz.

 -- {AUTHORS}  {date}
""")
    common = {"Apache-2.0": "/usr/share/common-licenses/Apache-2.0"}
    (place / "copyright").write_text((ROOT / "LICENSE").read_text() + "\n\n" + licences.third_parties(common))
    compressed(tree / "usr/share/man/man1/metre.1.gz", (ROOT / "packaging/metre.1").read_text())


def dependencies(tree, modules):
    """The versions of the C library and the like that the module was linked with."""
    # What dpkg-shlibdeps insists on.
    (tree.parent / "control").write_text(f"Source: {NAME}\n\nPackage: {NAME}\nArchitecture: any\n")
    found = output("dpkg-shlibdeps", "-O", *(f"-e{module}" for module in modules), cwd=tree.parent.parent)
    return found.removeprefix("shlibs:Depends=")


def control(tree, architecture, files):
    modules = [file for file in files if file.suffix == ".so"]
    size = sum(-(-file.stat().st_size // 1024) for file in files)
    return f"""\
Package: {NAME}
Version: {RELEASE}
Architecture: {architecture}
Maintainer: {AUTHORS}
Installed-Size: {size}
Depends: {dependencies(tree, modules)}, lua{LUA}
Enhances: prosody
Section: net
Priority: optional
Description: {DESCRIPTION}"""


def settle(tree):
    """The same modes and times whoever builds it."""
    for file in [tree, *tree.rglob("*")]:
        executable = file.is_dir() or file.parent.name == "bin"
        file.chmod(0o755 if executable else 0o644)
        os.utime(file, (epoch(), epoch()))


def main(directory):
    architecture = output("dpkg", "--print-architecture")
    multiarch = output("dpkg-architecture", "-qDEB_HOST_MULTIARCH")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(temporary) / "debian" / NAME
        places = [f"LUADIR=/usr/share/lua/{LUA}", f"LIBDIR=/usr/lib/{multiarch}/lua/{LUA}", "BINDIR=/usr/bin", f"DESTDIR={tree}"]
        subprocess.run(["make", "--no-print-directory", "install", f"LUA_VERSION={LUA}", *places], cwd=ROOT,
                       stdout=subprocess.DEVNULL, check=True)
        write_documents(tree)
        files = sorted(file for file in tree.rglob("*") if file.is_file())
        sums = "".join(f"{output('md5sum', file).split()[0]}  {file.relative_to(tree)}\n" for file in files)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(control(tree, architecture, files))
        (tree / "DEBIAN/md5sums").write_text(sums)
        settle(tree)
        path = directory / f"{NAME}_{RELEASE}_{architecture}.deb"
        # The packed bytes depend on the number of threads.
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--threads-max=1", "--build", tree, path], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch())})
    print(f"{path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
