"""A bridge that we did not write, with a hundred ghosts in twenty rooms, through a restart and a kill of the server.

Beside it, an application service of ours that is told everything records what it is told byte by byte, because the
framework forgets by itself what comes twice.
"""

from __future__ import annotations

import asyncio
import http.client
from typing import Any

import pytest

from bridge_side import BridgeSide
from harness.appservice import Service
from harness.client import Client, fresh, ids

GHOSTS, ROOMS = 100, 20

pytestmark = pytest.mark.own_server


async def insist(act: Any, *args: Any) -> Any:
    """Does it, and does it again with the same transaction id if the server went away meanwhile."""
    for _ in range(200):
        try:
            return await asyncio.to_thread(act, *args)
        except (OSError, http.client.HTTPException):
            await asyncio.sleep(0.1)
    raise AssertionError("the server did not come back")


class Story:
    """Who said what, and what the server acknowledged of it."""

    def __init__(self, bridge: BridgeSide, alice: Client, rooms: list[str]) -> None:
        self.bridge, self.alice, self.rooms = bridge, alice, rooms
        self.acknowledged: dict[str, list[str]] = {room: [] for room in rooms}

    async def ghosts_speak(self, what: str) -> None:
        async def speak(number: int) -> None:
            room = self.rooms[number % ROOMS]
            self.acknowledged[room].append(await self.bridge.say(number, room, f"{what} {number}"))

        await asyncio.gather(*(speak(number) for number in range(GHOSTS)))

    async def alice_speaks(self, what: str) -> None:
        for room in self.rooms:
            event = await insist(self.alice.text, room, what, fresh("t"))
            self.acknowledged[room].append(event)

    async def both(self, what: str) -> None:
        await asyncio.gather(self.ghosts_speak(what), self.alice_speaks(what))


async def tell(server: Any, bridge: BridgeSide) -> Story:
    await bridge.start()
    alice = await asyncio.to_thread(Client.register, server)
    rooms = [await bridge.make_room([alice.user], number) for number in range(ROOMS)]
    for room in rooms:
        await insist(alice.join, room)
    story = Story(bridge, alice, rooms)
    # Each comes, is invited by the bot, joins, and speaks.
    await story.both("before")
    restarting = asyncio.create_task(asyncio.to_thread(server.restart))
    await story.both("during the restart")
    await restarting
    killing = asyncio.create_task(asyncio.to_thread(kill_and_start, server))
    await story.both("during the kill")
    await killing
    await story.both("after")
    return story


def kill_and_start(server: Any) -> None:
    server.kill9()
    server.start()


async def check(story: Story, recorder: Service) -> None:
    bridge, alice = story.bridge, story.alice
    for room in story.rooms:
        truth = ids(await asyncio.to_thread(alice.history, room))
        assert len(truth) == len(set(truth))
        assert set(story.acknowledged[room]) <= set(truth), "what was acknowledged is there"
        await bridge.wait_heard(room, truth[-1])
        heard = [event for place, event in bridge.heard if place == room]
        missing = [event for event in truth if event not in heard]
        assert heard == truth, f"{len(heard)} heard of {len(truth)}; missing {missing}"
        await asyncio.to_thread(recorder.wait, lambda last=truth[-1]: last in ids(recorder.told()), room)
        told = [event["event_id"] for event in recorder.told() if event["room_id"] == room]
        assert told == truth, "each once, in the order of the room"
    bodies = {e["content"].get("body") for e in recorder.told() if e["type"] == "m.room.message"}
    for what in ("before", "during the restart", "during the kill", "after"):
        assert {f"{what} {number}" for number in range(GHOSTS)} <= bodies


def test_a_bridge_loses_nothing_and_hears_nothing_twice(make_server, tmp_path):
    service = Service(tmp_path, "mau", **{"receive_ephemeral": True})
    recorder = Service(tmp_path, "rec", namespaces={"rooms": [{"exclusive": False, "regex": "!.*"}]}).start()
    server = make_server(appservices__registrations=[str(service.path), str(recorder.path)])

    async def play() -> None:
        bridge = BridgeSide(server.base_url, service, tmp_path)
        try:
            story = await tell(server, bridge)
            await check(story, recorder)
            assert await bridge.app.ping_self("meow") >= 0
        finally:
            await bridge.close()

    try:
        asyncio.run(play())
    finally:
        recorder.stop()
