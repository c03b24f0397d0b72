"""Two implementations of the cryptography, unmodified, in one encrypted room: on one server, on two, and beside Synapse.

What cannot be decrypted is counted, and the count must be zero.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from devices import Device, Sdk
from harness.federation import Federation, eventually
from scene import MESSAGES, Conversation, Scene, run

pytestmark = [pytest.mark.own_server, pytest.mark.timeout(3600)]

# Who has which SDK, and where each is if there are two servers.
CAST = {"a": ("js", 0), "b": ("rust", 1), "c": ("js", 0), "d": ("sliding", 1), "e": ("js", 1)}
FEW = 3


def althing(federation: Federation) -> Any:
    """An Althing to which its clients are told to go."""
    server = federation.althing()
    server.settings["public.base_url"] = f"http://127.0.0.1:{server.port}"
    server.restart()
    return server


async def gather(scene: Scene) -> Conversation:
    """Everybody comes, makes an identity, verifies who there is to verify, and enters the room."""
    for name, (sdk, server) in CAST.items():
        await scene.user(name, sdk, server)
    await scene.device("a", "rust")
    await scene.device("b", "js")
    for user in "ab":
        await scene.verify(scene.devices[f"{user}2"], scene.devices[f"{user}1"])
    scene.tell("own devices verified")
    room = await scene.room("a", *"bcde")
    devices = scene.devices
    await scene.verify_in_room(devices["a1"], devices["b1"])
    await scene.verify_in_room(devices["b1"], devices["c1"])
    await scene.verify(devices["d1"], devices["c1"])
    scene.tell("users verified")
    # Who verified a user trusts all devices that the user does.
    await scene.trusts(devices["a1"], devices["b2"])
    await scene.trusts(devices["b1"], devices["a2"])
    return Conversation(scene, room)


async def attachments(talk: Conversation, senders: list[Device]) -> None:
    """Encrypted files go up and come down, whoever sends them."""
    for sender in senders:
        data = os.urandom(100_000)
        event = await sender.attach(talk.room, f"{sender.name}.bin", data)
        for reader in talk.scene.of(*"abcde"):
            assert await reader.fetch(talk.room, event) == data, reader.name
    talk.scene.tell("attachments")


def sessions(scene: Scene, room: str) -> dict[str, str]:
    """Of every encrypted event the key that it needs, as the server sees it."""
    events = scene.accounts["a"].history(room)
    return {e["event_id"]: e["content"]["session_id"] for e in events if e["type"] == "m.room.encrypted"}


async def somebody_leaves(talk: Conversation) -> dict[str, str]:
    """Who leaves cannot read what comes later, others can; gives what was said meanwhile."""
    scene, room = talk.scene, talk.room
    before, gone = dict(talk.said), scene.first("e")
    await gone.call("leave", roomId=room)
    await scene.all_know(room, *"abcd")
    await talk.talk(scene.of(*"abcd"), FEW, "without e")
    meanwhile = {event: body for event, body in talk.said.items() if event not in before}
    await talk.all_readable(scene.of(*"abcd"))
    used = sessions(scene, room)
    assert not {used[event] for event in meanwhile} & {used[event] for event in before}, "the keys were not changed"

    # Back, the one who left sees that something was said, and cannot read it.
    await scene.first("a").call("invite", roomId=room, user=scene.id("e"))
    # Synapse refuses the join of who was here before until the invite is in the room's state there, too.
    invited = lambda: scene.accounts["b"].membership(room, scene.id("e")) == "invite"  # noqa: E731
    await asyncio.to_thread(eventually, invited, "the invite in the state")
    await scene.enter(gone, room)
    await scene.all_know(room, *"abcde")
    await talk.greet(scene.of(*"abcde"))
    read = await gone.read(room)
    shown = [read[event] for event in meanwhile if event in read]
    assert shown
    assert [event for event in shown if event["utd"] is None or event["body"] is not None] == []
    scene.tell(f"{len(shown)} messages that the one who had left cannot read")
    return meanwhile


def all_backed_up(scene: Scene, user: str, room: str) -> None:
    """Waits until the server has a key for every session of the room in a user's backup."""
    account, used = scene.accounts[user], set(sessions(scene, room).values())

    def kept() -> bool:
        keys = account.get("/_matrix/client/v3/room_keys/keys", version=version)["rooms"]
        return used <= keys.get(room, {}).get("sessions", {}).keys()

    version = account.get("/_matrix/client/v3/room_keys/version")["version"]
    eventually(kept, f"the backup of {user}", 120)


async def recovery(talk: Conversation) -> None:
    """A new device, with the other SDK than the one that made the backup, reads everything by the recovery key."""
    scene = talk.scene
    for user, sdk in (("a", "rust"), ("b", "js")):
        key = await scene.first(user).call("enableRecovery")
        await asyncio.to_thread(all_backed_up, scene, user, talk.room)
        device = await scene.device(user, sdk)
        await device.call("recover", key=key)
        await talk.all_readable([device])
        await scene.trusts(scene.first("a" if user == "b" else "b"), device)
        await scene.logout(scene.first(user))
        # What the next one is not told by anybody, it finds in the backup.
        late = await scene.device(user, sdk)
        await late.call("recover", key=key)
        await talk.all_readable([late])
    await scene.all_know(talk.room, *"abcde")
    await talk.greet(scene.of(*"abcde"))
    await talk.talk(scene.of(*"abcde"), FEW, "after recovery")
    scene.tell("recovered")


async def history_on_invite(talk: Conversation) -> None:
    """Who is invited to a room with shared history reads it (MSC4268), where inviter and invited both can."""
    scene = talk.scene
    await scene.user("f", "rust", 0)
    known = await talk.unreadable(scene.first("d"), talk.said)
    assert known == {}
    before = dict(talk.said)
    await scene.first("d").call("invite", roomId=talk.room, user=scene.id("f"))
    await scene.enter(scene.first("f"), talk.room)
    await talk.all_readable(scene.of("f"), before)
    await scene.all_know(talk.room, *"abcdef")
    await talk.greet(scene.of(*"abcdef"))


async def play(scene: Scene) -> None:
    talk = await gather(scene)
    everyone = "abcde"
    await talk.greet(scene.of(*everyone))
    await talk.talk(scene.of(*everyone), MESSAGES, "hello from")
    await talk.all_readable(scene.of(*everyone))
    scene.tell(f"{await talk.late(scene.of(*everyone))} messages came before their key")
    await attachments(talk, [scene.devices["a1"], scene.devices["b1"]])
    meanwhile = await somebody_leaves(talk)
    await recovery(talk)
    await history_on_invite(talk)
    for device in scene.of(*everyone, "f"):
        mine = talk.said if device.name[0] != "e" else {e: b for e, b in talk.said.items() if e not in meanwhile}
        await talk.all_readable([device], mine)
    print(f"{len(talk.said)} messages, {talk.read} readings, 0 undecryptable")


def test_five_users_of_two_sdks_on_one_server(federation: Federation, sdks: list[Sdk]) -> None:
    asyncio.run(run([althing(federation)], sdks, play))


@pytest.mark.only_engine("embedded")
def test_five_users_of_two_sdks_on_two_servers(federation: Federation, sdks: list[Sdk]) -> None:
    asyncio.run(run([althing(federation), althing(federation)], sdks, play))


@pytest.mark.only_engine("embedded")
def test_five_users_of_two_sdks_beside_synapse(federation: Federation, sdks: list[Sdk]) -> None:
    asyncio.run(run([althing(federation), federation.synapse()], sdks, play))
