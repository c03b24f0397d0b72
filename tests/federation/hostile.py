"""What the hostile peer's tests share: a home that is judged, a peer in one of its rooms, and what was let in."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from harness.client import Client
from harness.events import Event, id_of
from harness.federation import Federation, eventually
from harness.peer import Peer
from harness.rooms import Room

MIB = 1 << 20
# What a server may take beyond what it had before an attack. Far above what one needs, far below what was thrown at it.
GROWTH = 256 * MIB


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
    assert found
    return int(found[1]) * 1024


@dataclasses.dataclass
class Siege:
    """Alice at home, Mallory at the peer."""

    federation: Federation
    home: Any
    peer: Peer

    def __post_init__(self) -> None:
        self.alice = Client.register(self.home)
        self.mallory = self.peer.user("mallory")

    # -- rooms -------------------------------------------------------------------------------------

    def room(self, version: str = "11", **options: Any) -> Room:
        """A room of Alice's that Mallory has joined."""
        options.setdefault("preset", "public_chat")
        made = self.alice.create_room(room_version=version, **options)
        return self.peer.join(self.home, made, self.mallory)

    def message(self, room: Room, body: str = "hello", **more: Any) -> Event:
        return self.peer.message(room, self.mallory, body, **more)

    def lift(self, room: Room, level: int = 50) -> None:
        """Gives Mallory power, and waits until the peer has been told."""
        levels = self.alice.state(room.id, "m.room.power_levels")
        levels.setdefault("users", {})[self.mallory] = level
        event = self.alice.set_state(room.id, "m.room.power_levels", levels)
        self.peer.wait(lambda: event in room.events, "the change of power at the peer")

    # -- what was let in ---------------------------------------------------------------------------

    def ids(self, room: Room) -> list[str]:
        """Every event that Alice reads."""
        return [event["event_id"] for event in self.alice.history(room.id, "b", 500)]

    def arrives(self, room: Room, event: Event) -> Any:
        """Waits until Alice can read it."""
        event_id = id_of(event, room.version)
        return eventually(lambda: self.alice.event(room.id, event_id), f"{event_id} at home")

    def still_works(self, room: Room) -> Event:
        """An honest event, after whatever was thrown at the home, gets in."""
        event = self.message(room, "still here?")
        self.peer.tell(self.home, event)
        room.add(event)
        self.arrives(room, event)
        return event

    def kept_out(self, room: Room, events: Iterable[Event]) -> None:
        """Sends these, then an honest one; when that is there, these must not be."""
        bad = [id_of(event, room.version) for event in events]
        for event in events:
            # One by one, so that none can hide behind the refusal of another.
            answer = self.peer.send(self.home, [event])
            assert answer.status < 500, answer
        self.still_works(room)
        self.unseen(room, bad)

    def unseen(self, room: Room, bad: Iterable[str]) -> None:
        seen = self.ids(room)
        held = {event["event_id"] for event in self.alice.full_state(room.id).values()}
        for event_id in bad:
            assert event_id not in seen, f"{event_id} is in the timeline"
            assert event_id not in held, f"{event_id} is in the state"
            answer = self.alice.raw("GET", self.alice.room_call(room.id, "event", event_id))
            assert answer.status == 404, answer

    # -- under load --------------------------------------------------------------------------------

    def responsive(self) -> None:
        """Answers a client; the time allowed is the request's."""
        assert self.alice.raw("GET", "/_matrix/client/v3/account/whoami", timeout=10).status == 200

    def measured(self) -> int:
        return memory(self.home.pid)

    def bounded(self, before: int, growth: int = GROWTH) -> None:
        after = memory(self.home.pid)
        assert after - before < growth, f"{(after - before) // MIB} MiB more than before"
