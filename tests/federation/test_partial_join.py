"""A room that is entered without its members (Server-Server API, `omit_members`): it can be used at once, and is whole later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import V3, Client, fresh
from harness.federation import eventually
from harness.peer import V1, Asked, Peer
from harness.rooms import Room
from harness.wire import path

pytestmark = [pytest.mark.own_server]


@pytest.fixture
def gate(peer: Peer) -> Iterator[threading.Event]:
    """What the state was before a join is told when this is set."""
    opened = threading.Event()

    def told(asked: Asked) -> Any:
        opened.wait()
        return peer.rooms[asked.segments[4]].answer(peer, asked)

    peer.on("GET", f"{V1}/state_ids", told)
    yield opened
    opened.set()


def large_room(peer: Peer) -> tuple[Room, list[str]]:
    owner = peer.user("owner")
    room = peer.create_room("11", owner)
    members = [peer.user(f"m{n}") for n in range(5)]
    for member in members:
        peer.add(room, member, "m.room.member", {"membership": "join"}, member)
    banned = peer.user("banned")
    peer.add(room, owner, "m.room.member", {"membership": "ban"}, banned)
    return room, [owner, *members]


def enter(alice: Client, peer: Peer, room: Room) -> None:
    alice.call("POST", path(f"{V3}/join", room.id) + f"?server_name={peer.name}")


def test_a_room_is_used_before_its_members_are_known_and_has_all_of_them_later(home, peer, gate):
    alice, (room, members) = Client.register(home), large_room(peer)
    enter(alice, peer, room)
    peer.wait(lambda: peer.count("GET", f"{V1}/state_ids"), "the question for the state")
    assert not gate.is_set()
    sent = alice.text(room.id, "already here")
    peer.wait(lambda: sent in room.events, "the message at the peer")
    told = peer.message(room, members[1], "so are we")
    room.add(told)
    peer.tell(home, told)
    eventually(lambda: any(e["content"].get("body") == "so are we" for e in alice.history(room.id)), "the answer")
    gate.set()

    def joined() -> bool:
        found = alice.get(alice.room_call(room.id, "joined_members"))["joined"]
        return set(found) == {alice.user, *members}

    eventually(joined, "all members")
    state = alice.full_state(room.id)
    assert state[("m.room.member", peer.user("banned"))]["content"]["membership"] == "ban"


def test_who_follows_without_lazy_members_is_told_of_all_when_they_are_known(home, peer, gate):
    alice, (room, members) = Client.register(home), large_room(peer)
    enter(alice, peer, room)
    known: set[str] = set()

    def hears() -> set[str]:
        there = alice.sync(timeout=1000).get("rooms", {}).get("join", {}).get(room.id, {})
        events = there.get("state", {}).get("events", []) + there.get("timeline", {}).get("events", [])
        known.update(event["state_key"] for event in events if event["type"] == "m.room.member")
        return known

    eventually(lambda: alice.user in hears(), "the room")
    assert peer.user("m3") not in known
    gate.set()
    eventually(lambda: hears() == {alice.user, *members, peer.user("banned")}, "all members in /sync")


def test_who_was_banned_before_the_join_is_kept_out_once_that_is_known(home, peer, gate):
    alice, (room, _) = Client.register(home), large_room(peer)
    enter(alice, peer, room)
    gate.set()
    banned = peer.user("banned")
    eventually(lambda: ("m.room.member", banned) in alice.full_state(room.id), "the ban")
    forged = peer.event(room, banned, "m.room.message", {"body": "still here"})
    peer.tell(home, forged)
    good = peer.message(room, peer.user("m0"), "after")
    peer.tell(home, good)
    eventually(lambda: any(e["content"].get("body") == "after" for e in alice.history(room.id)), "what came after")
    assert all(e["content"].get("body") != "still here" for e in alice.history(room.id))


def test_a_room_whose_state_is_long_in_coming_holds_up_no_other(home, peer, gate):
    alice, (slow, _), (other, members) = Client.register(home), large_room(peer), large_room(peer)

    def told(asked: Asked) -> Any:
        if asked.segments[4] == slow.id:
            gate.wait()
        return peer.rooms[asked.segments[4]].answer(peer, asked)

    peer.on("GET", f"{V1}/state_ids", told)
    enter(alice, peer, slow)
    peer.wait(lambda: peer.count("GET", f"{V1}/state_ids"), "the question for the state")
    enter(alice, peer, other)
    found = lambda room: set(alice.get(alice.room_call(room.id, "joined_members"))["joined"])  # noqa: E731
    eventually(lambda: found(other) == {alice.user, *members}, "all members of the second room")
    assert found(slow) != {alice.user, *members}
    gate.set()
    eventually(lambda: found(slow) == {alice.user, *members}, "all members of the first")


def test_a_join_that_is_not_completed_yet_survives_a_restart(federation, peer, gate):
    home = federation.althing()
    alice, (room, members) = Client.register(home), large_room(peer)
    enter(alice, peer, room)
    peer.wait(lambda: peer.count("GET", f"{V1}/state_ids"), "the question for the state")
    asked = peer.count("GET", f"{V1}/state_ids")
    home.terminate()
    home.start()
    peer.wait(lambda: peer.count("GET", f"{V1}/state_ids") > asked, "the question again")
    gate.set()
    found = lambda: alice.get(alice.room_call(room.id, "joined_members"))["joined"]  # noqa: E731
    eventually(lambda: set(found()) == {alice.user, *members}, "all members")
    alice.text(room.id, fresh("t"))
