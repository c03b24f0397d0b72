"""Measures federation; see tools/bench-federation. Prints, and judges nothing."""

from __future__ import annotations

import os
import pathlib
import re
import sys
import time
from typing import Any

from harness.client import V3, Client
from harness.federation import Federation, eventually
from harness.peer import Peer
from harness.rooms import Room
from harness.wire import path

EVENTS = int(os.environ.get("ALTHING_BENCH_EVENTS", "10000"))
SERVERS = int(os.environ.get("ALTHING_BENCH_SERVERS", "100"))
MEMBERS = int(os.environ.get("ALTHING_BENCH_MEMBERS", "50000"))
HOME = os.environ.get("ALTHING_BENCH_HOME", "althing")
MESSAGES = 50
BATCH = 50
WAIT_S = 600.0


class Meter:
    """CPU and time of a server from here on."""

    def __init__(self, pid: int) -> None:
        self.pid, self.began, self.used = pid, time.monotonic(), self._cpu(pid)

    @staticmethod
    def _cpu(pid: int) -> float:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def wall(self) -> float:
        return time.monotonic() - self.began

    @property
    def cpu(self) -> float:
        return self._cpu(self.pid) - self.used

    def memory(self, name: str) -> float:
        """MiB: `VmRSS`, or `VmHWM` for the peak."""
        found = re.search(rf"^{name}:\s+(\d+) kB", pathlib.Path(f"/proc/{self.pid}/status").read_text(), re.M)
        return int(found[1]) / 1024 if found else 0.0


def say(name: str, **numbers: Any) -> None:
    shown = "  ".join(f"{key}={value:.2f}" if isinstance(value, float) else f"{key}={value}" for key, value in numbers.items())
    print(f"{name:9} {shown}", flush=True)


def inbound(federation: Federation, home: Any) -> None:
    peer = Peer(federation.authority)
    alice = Client.register(home)
    sender = peer.user("sender")
    room = peer.join(home, alice.create_room(preset="public_chat", room_version="11"), sender)
    events = []
    for number in range(EVENTS):
        event = peer.message(room, sender, f"{number}")
        room.add(event)
        events.append(event)
    meter = Meter(home.pid)
    for at in range(0, EVENTS, BATCH):
        peer.tell(home, *events[at : at + BATCH])
    last = room.heads[-1]
    eventually(lambda: alice.event(room.id, last), "the last event", WAIT_S)
    wall, cpu = meter.wall, meter.cpu
    say("inbound", events=EVENTS, seconds=wall, per_second=EVENTS / wall, cpu_us_each=cpu / EVENTS * 1e6, rss_mib=meter.memory("VmRSS"))
    peer.stop()


def outbound(federation: Federation, home: Any) -> None:
    peers = [Peer(federation.authority) for _ in range(SERVERS)]
    alice = Client.register(home)
    made = alice.create_room(preset="public_chat", room_version="11")
    rooms = [peer.join(home, made, peer.user("listener")) for peer in peers]
    # The joins are told to all, too: not to be counted.
    first = alice.text(made, "all here?")
    for peer, room in zip(peers, rooms, strict=True):
        peer.wait(lambda r=room: first in r.events, "the first message", WAIT_S)
    before = [len(peer.asked) for peer in peers]
    meter = Meter(home.pid)
    sent = [alice.text(made, f"{number}") for number in range(MESSAGES)]
    accepted = meter.wall
    for peer, room in zip(peers, rooms, strict=True):
        peer.wait(lambda r=room: all(one in r.events for one in sent), "the messages", WAIT_S)
    wall, cpu, count = meter.wall, meter.cpu, MESSAGES * SERVERS
    transactions = sum(len(peer.asked) for peer in peers) - sum(before)
    say(
        "outbound", servers=SERVERS, messages=MESSAGES, transactions=transactions, seconds_to_send=accepted,
        seconds=wall, deliveries_per_second=count / wall, cpu_us_each=cpu / count * 1e6,
    )  # fmt: skip
    for peer in peers:
        peer.stop()


def crowd(peer: Peer) -> Room:
    """A room of very many members, in version 11."""
    owner = peer.user("owner")
    room = peer.create_room("11", owner)
    room.keeps_states = False
    for number in range(MEMBERS - 1):
        user = peer.user(f"member{number}")
        peer.add(room, user, "m.room.member", {"membership": "join", "displayname": f"Member {number}"}, user)
    return room


def large_join(federation: Federation, home: Any) -> None:
    peer = Peer(federation.authority)
    room = crowd(peer)
    alice = Client.register(home)
    meter = Meter(home.pid)
    rested = meter.memory("VmRSS")
    alice.call("POST", path(f"{V3}/join", room.id), {}, query={"via": peer.name, "server_name": peer.name}, timeout=WAIT_S)
    answered = meter.wall

    # As applications ask: without all members. Others are not shown the room by some servers before these are known.
    def shown() -> bool:
        lazy = {"room": {"state": {"lazy_load_members": True}}}
        return room.id in alice.sync(timeout=1000, filter=lazy).get("rooms", {}).get("join", {})

    eventually(shown, "the room in /sync", WAIT_S)
    usable = meter.wall

    def all_here() -> bool:
        answer = alice.raw("GET", alice.room_call(room.id, "joined_members"), timeout=WAIT_S)
        return answer.status == 200 and len(answer.json["joined"]) == MEMBERS + 1

    eventually(all_here, "all members", WAIT_S)
    say(
        "join", members=MEMBERS, seconds_to_answer=answered, seconds_to_sync=usable, seconds_to_all=meter.wall,
        cpu_seconds=meter.cpu, rss_before_mib=rested, rss_peak_mib=meter.memory("VmHWM"),
    )  # fmt: skip
    peer.stop()


def main(words: list[str]) -> int:
    known = {"inbound": inbound, "outbound": outbound, "join": large_join}
    if not set(words) <= set(known):
        print(f"bench-federation: there are {', '.join(known)}", file=sys.stderr)
        return 2
    for word in words or known:
        federation = Federation()
        try:
            known[word](federation, federation.synapse() if HOME == "synapse" else federation.subject())
        finally:
            federation.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
