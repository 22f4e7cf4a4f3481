"""What tests of the operator pack as a whole share."""

import functools
import re
import subprocess

from harness import DEADLINE, HOST, ROOMS, ROOT, Exporting, chat, clients

COMPONENT = f'Component "{ROOMS}"'

run = functools.partial(subprocess.run, capture_output=True, text=True, check=False, timeout=DEADLINE)


def families():
    """The pack's families by name: type, unit, help, labels."""
    program = """
        local function text(spec) return table.concat(spec.labels or {}, ",") end
        for name, spec in pairs(require "metre.operator.families") do
            print(table.concat({ name, spec.type, spec.unit or "", text(spec), spec.help }, "\\t"));
        end
    """
    lines = run(["lua5.4", "-e", program], env={"LUA_PATH": f"{ROOT}/lua/?.lua"}).stdout.splitlines()
    found = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert len(found) > 30, lines
    return found


FAMILIES = families()


def family_of(sample):
    """The pack's family that a sample is of, if it is one of the pack's."""
    short = re.sub("_(total|bucket|sum|count|created)$", "", sample)
    return next((name for name in (sample, short) if name in FAMILIES), None)


def of_pack(samples):
    return {key: value for key, value in samples.items() if family_of(key[0])}


def of_host(samples, host):
    return {key: value for key, value in of_pack(samples).items() if ("host", host) in key[1]}


def counts(samples):
    """What only adds up and doesn't depend on times or caches."""
    return {
        key: value for key, value in of_pack(samples).items()
        if re.search("_(total|count)$", key[0]) and not re.search("_storage_|_traffic_|_log_", key[0])
    }


def complaints(prosody):
    """But for what Prosody 13 says where modules with commands for its shell are loaded twice, and of our configuration."""
    return [line for line in prosody.complaints() if not re.search("is already registered - overwriting|Duplicate option", line)]


async def conversation(prosody, count=2):
    async with clients(prosody, count) as everyone:
        await chat(everyone)


class OnPort(Exporting):
    """One that may have no port for clients. `hosts` stand in place of the usual ones, `disabled` are modules that are."""

    def __init__(self, hosts=None, disabled=("tls",), **more):
        super().__init__(**more)
        text = self.config.read_text().replace('{ "s2s", "tls" }', "{ " + "".join(f'"{name}"; ' for name in disabled) + "}")
        if hosts is not None:
            text = text[:text.index(f'VirtualHost "{HOST}"')] + hosts
        self.config.write_text(text)

    def _serves(self):
        return "Serving metrics at" in self.log() or super()._serves()
