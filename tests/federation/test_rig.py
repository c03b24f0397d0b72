"""The rig proves itself on two servers that others wrote, before it judges this one."""

from __future__ import annotations

import pytest

from harness.client import Client, fresh
from harness.federation import Federation, bodies, eventually, join, same_state, sees

pytestmark = [pytest.mark.own_server, pytest.mark.only_engine("embedded")]


def test_two_synapses_meet_are_parted_and_meet_again(federation: Federation) -> None:
    first, second = federation.synapse(), federation.synapse()
    alice, bob = Client.register(first), Client.register(second)
    name = fresh("a")
    room = alice.create_room(preset="public_chat", room_alias_name=name)
    join(bob, f"#{name}:{first.name}", first)
    sees(bob, room, alice.text(room, "hello"))
    federation.cut(second)
    apart = {alice.text(room, f"first {n}") for n in range(5)} | {bob.text(room, f"second {n}") for n in range(5)}
    for client, other in ((alice, "second"), (bob, "first")):
        assert not [text for text in bodies(client, room) if text.startswith(other)], "the cut is none"
    federation.heal(second)
    alice.text(room, "back")
    bob.text(room, "back")
    for client in (alice, bob):
        eventually(lambda c=client: apart <= {e["event_id"] for e in c.history(room, "b")}, "all events")
    same_state(room, alice, bob)
