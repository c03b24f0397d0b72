"""Whose devices a client is to look at again, and whose no longer, follows from who was in which room: random histories of two servers
against a naive model (spec: Client-Server API, "Tracking the device list for a user").

`ALTHING_TEST_SEED` plays one history again, `ALTHING_TEST_STEPS` says how long they are (default 40).
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from harness.client import V3, Client
from harness.federation import Federation, eventually, join

pytestmark = [pytest.mark.own_server, pytest.mark.timeout(600)]

SEED = int(os.environ.get("ALTHING_TEST_SEED", random.randrange(1 << 32)))
STEPS = int(os.environ.get("ALTHING_TEST_STEPS", "40"))
ROOMS = 3


class Viewer:
    """A user, what the model says that they must be told since they looked last, and what they were told."""

    def __init__(self, client: Client) -> None:
        self.client, self.id = client, client.user
        # With whom a room was shared when they looked last; of these, with whom one always was since.
        self.then: set[str] = set()
        self.always: set[str] = set()
        self.changed: set[str] = set()
        # With whom a room was shared at any moment since, and with whom a further one is.
        self.ever: set[str] = set()
        self.further: set[str] = set()
        self.told: dict[str, str] = {}
        client.sync()

    def moved(self, now: set[str]) -> None:
        self.always &= now
        self.ever |= now

    def listen(self) -> None:
        lists = self.client.sync().get("device_lists", {})
        self.told |= dict.fromkeys(lists.get("left", []), "left")
        self.told |= dict.fromkeys(lists.get("changed", []), "changed")

    def look(self, now: set[str]) -> None:
        """Waits until everything is told that must be."""
        must = (now - self.always) | {user for user in self.changed if user in now or user == self.id}
        gone = self.then - now

        def complete() -> bool:
            self.listen()
            wanted = dict.fromkeys(must, "changed") | dict.fromkeys(gone, "left")
            lacking = {user: word for user, word in wanted.items() if self.told.get(user) != word}
            assert not lacking, f"{self.id} is not told {lacking}, but {self.told}"
            return True

        eventually(complete, f"what {self.id} is to be told")
        for user, word in self.told.items():
            if word == "left":
                assert user in self.ever and user not in now, f"{self.id}: {user} has left, with whom {now} share"
            else:
                assert user in now or user == self.id, f"{self.id}: {user} has changed, and shares no room"
                # News of users elsewhere may come late, and then once more.
                known = user not in self.always or user in self.changed | self.further | {self.id}
                assert known or not user.endswith(f":{self.client.server.name}"), f"{self.id}: nothing new of {user}"
        self.then, self.always, self.ever = set(now), set(now), set(now)
        self.changed, self.told, self.further = set(), {}, set()


class Histories:
    """Two servers; one user of each stays in every room, the others come and go."""

    def __init__(self, federation: Federation, seed: int) -> None:
        self.dice = random.Random(seed)
        homes = [federation.subject(), federation.subject()]
        self.hosts = [Client.register(home) for home in homes]
        self.rooms = [self.hosts[n % 2].create_room(preset="public_chat") for n in range(ROOMS)]
        for n, room in enumerate(self.rooms):
            join(self.hosts[1 - n % 2], room, homes[n % 2])
        self.members = {room: {host.user for host in self.hosts} for room in self.rooms}
        self.viewers = [Viewer(Client.register(home)) for home in homes for _ in range(2)]
        for room in self.rooms:
            self.agreed(room)

    def shared(self, user: str) -> set[str]:
        return set().union(*(members for members in self.members.values() if user in members)) - {user}

    def agreed(self, room: str) -> None:
        """Both servers know who is in the room."""

        def same() -> bool:
            for host in self.hosts:
                seen = set(host.get(host.room_call(room, "joined_members"))["joined"])
                assert seen == self.members[room], (host.server.name, seen)
            return True

        eventually(same, "the memberships on both servers")

    def step(self) -> None:
        viewer, room = self.dice.choice(self.viewers), self.dice.choice(self.rooms)
        client, members = viewer.client, self.members[room]
        deed = self.dice.choices(("move", "change", "look"), (6, 2, 3))[0]
        if deed == "look":
            viewer.look(self.shared(viewer.id))
        elif deed == "change":
            self.change(client)
        else:
            if viewer.id in members:
                client.leave(room)
                members.remove(viewer.id)
            else:
                join(client, room, *(host.server for host in self.hosts if host.server.name != client.server.name))
                members.add(viewer.id)
                for other in self.viewers:
                    if other.id in members:
                        other.further = other.further | {viewer.id} if other is not viewer else other.further | members
            for other in self.viewers:
                other.moved(self.shared(other.id))
            self.agreed(room)

    def change(self, client: Client) -> None:
        """A new device with keys."""
        other = client.login()
        keys: dict[str, Any] = {f"{kind}:{other.device}": f"{self.dice.random()}" for kind in ("ed25519", "curve25519")}
        algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
        named = {"user_id": client.user, "device_id": other.device, "algorithms": algorithms, "keys": keys, "signatures": {}}
        other.call("POST", f"{V3}/keys/upload", {"device_keys": named})
        for viewer in self.viewers:
            if client.user in self.shared(viewer.id) or client.user == viewer.id:
                viewer.changed.add(client.user)


def test_device_lists_of_two_servers_equal_what_follows_from_who_was_where(federation: Federation) -> None:
    print(f"ALTHING_TEST_SEED={SEED}")
    histories = Histories(federation, SEED)
    for _ in range(STEPS):
        histories.step()
    for viewer in histories.viewers:
        viewer.look(histories.shared(viewer.id))
