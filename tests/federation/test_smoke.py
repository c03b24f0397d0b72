"""A short conversation with a server of another make; on every engine."""

from __future__ import annotations

import pytest

from harness.client import Client
from harness.federation import Federation, eventually, join, same_state, sees

pytestmark = [pytest.mark.own_server]


def test_two_servers_talk_are_restarted_and_go_on(federation: Federation) -> None:
    here, there = federation.subject(), federation.synapse()
    alice, bob = Client.register(here), Client.register(there)
    outward = alice.create_room(preset="public_chat")
    inward = bob.create_room(preset="public_chat")
    join(bob, outward, here)
    join(alice, inward, there)
    for room in (outward, inward):
        for client in (alice, bob):
            for user in (alice.user, bob.user):
                eventually(lambda c=client, r=room, u=user: c.membership(r, u) == "join", "the joins")
        sees(bob, room, alice.text(room, "from here"))
        sees(alice, room, bob.text(room, "from there"))
    if here.engine != "synapse":
        here.kill9()
        missed = bob.text(inward, "while you were gone")
        here.start()
        bob.text(inward, "hello again")
        sees(alice, inward, missed)
        sees(bob, outward, alice.text(outward, "back"))
    for room in (outward, inward):
        same_state(room, alice, bob)
