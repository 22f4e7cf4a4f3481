"""Packs the built modules into binary rocks, a directory for each Lua version that any web server can serve as a rocks server.

luarocks could pack what it has built itself, but it writes the builder's time, umask and paths into it, and wants Lua's headers.
Usage: rocks.py MODULES ROCKS, where MODULES/5.4/metre_lua54.so is what was built for 5.4.
"""

import hashlib
import os
import pathlib
import shutil
import sys
import time
import zipfile

import licences
from common import ROOT, documents, epoch, version

# LuaJIT takes 5.1's.
LUA_VERSIONS = ["5.1", "5.2", "5.3", "5.4"]
RELEASE = version() + "-1"
ARCHITECTURE = "linux-" + os.uname().machine


def replaced(text, old, new):
    if text.count(old) != 1:
        raise SystemExit(f"packaging: {old} was expected once")
    return text.replace(old, new)


def rockspec(lua):
    """The rockspec for this release, and for one Lua only: luarocks has no other way to know that a binary rock is for that."""
    text = (ROOT / "rockspec/metre-dev-1.rockspec").read_text()
    text = replaced(text, 'version = "dev-1"', f'version = "{RELEASE}"')
    return replaced(text, '"lua >= 5.1, < 5.5"', f'"lua ~> {lua}"').encode()


def contents(lua, modules, third_parties):
    """What is in the rock, by path."""
    name = f"metre_lua{lua.replace('.', '')}.so"
    files = {f"lib/{name}": (modules / lua / name).read_bytes(), f"metre-{RELEASE}.rockspec": rockspec(lua)}
    for file in (ROOT / "lua").rglob("*.lua"):
        files[f"lua/{file.relative_to(ROOT / 'lua')}"] = file.read_bytes()
    # luarocks starts the command with the tree's paths.
    command = replaced((ROOT / "bin/metre").read_text(), "/usr/bin/env lua\n", f"/usr/bin/env lua{lua}\n")
    files["bin/metre"] = replaced(command, "@LUADIR@/?.lua;", "").encode()
    for path, file in documents():
        files[f"doc/{path}"] = file.read_bytes()
    files["doc/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files["doc/LICENSES-OF-CRATES"] = third_parties.encode()
    return files


def lua_table(values, depth=1):
    """A table of strings and tables, in order."""
    lines = []
    for key, value in sorted(values.items()):
        text = lua_table(value, depth + 1) if isinstance(value, dict) else f'"{value}"'
        lines.append(f'{"   " * depth}["{key}"] = {text}')
    return "{\n" + ",\n".join(lines) + "\n" + "   " * (depth - 1) + "}"


def rock_manifest(files):
    """luarocks' list of the files, with what it checks them by."""
    tree = {}
    for path, content in files.items():
        *directories, name = path.split("/")
        place = tree
        for directory in directories:
            place = place.setdefault(directory, {})
        place[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return f"rock_manifest = {lua_table(tree)}\n".encode()


def write_rock(path, files):
    when = time.gmtime(epoch())[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as rock:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.startswith("bin/") else 0o100644) << 16
            rock.writestr(entry, content, compresslevel=9)


def manifest(listed):
    """What luarocks reads first. Those of another Lua find nothing listed, and are told so."""
    rock = f'metre = {{ ["{RELEASE}"] = {{ {{ arch = "{ARCHITECTURE}" }} }} }}' if listed else ""
    return f"commands = {{}}\nmodules = {{}}\nrepository = {{ {rock} }}\n"


def main(modules, rocks):
    third_parties = licences.third_parties()
    for lua in LUA_VERSIONS:
        directory = rocks / lua
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        files = contents(lua, modules, third_parties)
        files["rock_manifest"] = rock_manifest(files)
        path = directory / f"metre-{RELEASE}.{ARCHITECTURE}.rock"
        write_rock(path, files)
        for name in ("manifest", *(f"manifest-{version}" for version in LUA_VERSIONS)):
            (directory / name).write_text(manifest(name in ("manifest", f"manifest-{lua}")))
        print(f"{path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
