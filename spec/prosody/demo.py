"""A real Prosody on metre with real XMPP sessions, and its metrics. Ends with Ctrl-C, or after DEMO_SECONDS."""

import asyncio
import contextlib
import os
import signal
import sys
import time

from harness import HOST, ROOMS, Exporting, chat, clients, parse, wait_for

CLIENTS = 5


def say(text=""):
    print(text, flush=True)


def label(labels, name):
    return dict(labels).get(name, "")


def show(page):
    """The interesting lines of a page, readable."""
    samples = parse(page)

    def rows(name):
        return [(labels, value) for (found, labels), value in samples.items() if found == name]

    say(f"The page has {len(samples)} samples and {len(page.encode()):,} bytes; a strict OpenMetrics parser takes it.")
    say()
    say("Sessions now")
    for labels, value in rows("prosody_mod_c2s__connections"):
        say(f"  {value:4.0f}  {label(labels, 'type')} over {label(labels, 'ip_family')} on {label(labels, 'host')}")
    for labels, value in rows("prosody_mod_muc__live_room"):
        say(f"  {value:4.0f}  rooms on {label(labels, 'host')}")
    say("Stanzas since the start")
    for labels, value in sorted(rows("prosody_mod_metre_demo__stanzas_total")):
        say(f"  {value:4.0f}  {label(labels, 'kind')} on {label(labels, 'host')}")
    say("Size of messages, in bytes (histogram)")
    counts = {}
    for labels, value in rows("prosody_mod_metre_demo__message_size_bytes_bucket"):
        if label(labels, "host") == HOST:
            counts[label(labels, "le")] = value
    before = 0
    for le, value in counts.items():
        say(f"  up to {le:>6}  {value - before:4.0f}  {'#' * int(value - before)}")
        before = value
    say("Duration of collections (histogram)")
    count = sum(value for _, value in rows("prosody_stats_collection_seconds_count"))
    total = sum(value for _, value in rows("prosody_stats_collection_seconds_sum"))
    say(f"  {count:4.0f}  collections of {1e6 * total / max(count, 1):.0f} µs each")
    say("Prosody itself")
    resident = sum(value for _, value in rows("process_resident_memory_bytes"))
    blocked = sum(value for _, value in rows("metre_event_loop_blocked_seconds"))
    say(f"  {resident / 2**20:4.0f}  MiB resident; its event loop has not answered for {blocked:.3f} s")
    say()


async def run(prosody, end):
    async with clients(prosody, CLIENTS) as everyone:
        say(f"{CLIENTS} clients are logged in on {HOST}; they chat and meet in a room on {ROOMS}.")
        await chat(everyone)
        connected = ("prosody_mod_c2s__connections", (("host", HOST), ("ip_family", "ipv4"), ("type", "c2s")))
        wait_for("the next collection", lambda: prosody.samples().get(connected) == CLIENTS)
        say(f"\nMetrics: http://{prosody.exporter}/metrics\n")
        show(prosody.scrape())
        say("Running until Ctrl-C." if end is None else "Running until DEMO_SECONDS are over.")
        turn = 0
        while end is None or time.monotonic() < end:
            turn += 1
            sender, receiver = everyone[turn % CLIENTS], everyone[(turn + 1) % CLIENTS]
            text = f"still here, {turn}" + "!" * (turn * 37 % 500)
            sender.send_message(receiver.boundjid.full, text, mtype="chat")
            await receiver.hears(text)
            await asyncio.sleep(0.5)
        say("\nAt the end:\n")
        show(prosody.scrape())


def main():
    seconds = os.environ.get("DEMO_SECONDS")
    end = time.monotonic() + float(seconds) if seconds else None
    # So that everything is put away after SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.suppress(KeyboardInterrupt), Exporting(modules=["metre_demo"]) as prosody:
        prosody.add_users(CLIENTS)
        say(f"Starting Debian's Prosody with statistics = \":metre\" in {prosody.directory}")
        prosody.serves()
        asyncio.run(run(prosody, end))
        say(f"Prosody has ended after {prosody.stop():.1f} s.")


main()
