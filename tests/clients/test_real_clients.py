"""Two clients that we did not write, unmodified, talk in one room through a restart of the server."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

import pytest
from PIL import Image

import js_side
from harness.client import PASSWORD, V1, Client, fresh, ids
from harness.component import missing
from harness.wire import path
from js_side import JsSide
from nio_side import NioSide

PER_SIDE = int(os.environ.get("ALTHING_TEST_MESSAGES", "200"))


def picture(width: int, height: int, shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, 90, 160)).save(out, "PNG")
    return out.getvalue()


class Talk:
    """One side's part of the conversation, and what must be true of it afterwards."""

    def __init__(self, me: Any, room: str, root: str) -> None:
        self.me, self.room, self.root = me, room, root
        self.other: Talk
        self.acknowledged: list[str] = []
        self.texts: list[str] = []
        self.bodies: dict[str, str] = {}
        self.redacted: list[str] = []
        self.threaded: list[str] = []
        self.reactions: dict[str, str] = {}

    def ack(self, event: str) -> str:
        self.acknowledged.append(event)
        return event

    async def text(self, body: str) -> str:
        event = self.ack(await self.me.text(self.room, body))
        self.texts.append(event)
        self.bodies[event] = body
        return event

    async def step(self, number: int) -> None:
        """The n-th thing this side does."""
        me, room, body = self.me, self.room, f"{self.me.name} {number}"
        heard = self.other.texts[-1] if self.other.texts else self.root
        match number % 10:
            case 2:
                await me.wait_event(room, heard)
                self.ack(await me.reply(room, heard, body))
            case 3:
                edited = self.texts[-1]
                self.ack(await me.edit(room, edited, f"{body} edited"))
                self.bodies[edited] = f"{body} edited"
            case 4:
                await me.wait_event(room, heard)
                event = self.ack(await me.react(room, heard, f"👍{number}"))
                self.reactions[event] = heard
            case 5:
                self.threaded.append(self.ack(await me.thread(room, self.root, body)))
            case 6:
                event = self.ack(await me.text(room, body))
                self.ack(await me.redact(room, event))
                self.redacted.append(event)
            case 7:
                await self.image(number)
            case 8:
                await self.text(body)
                await me.receipt(room, heard)
            case 9:
                await me.typing(room, True)
                await self.text(body)
            case _:
                await self.text(body)

    async def image(self, number: int) -> None:
        """An image with a thumbnail; the other side fetches both, and one the server makes."""
        large, small = picture(320, 200, number), picture(32, 20, number)
        event, url, thumbnail = await self.me.image(self.room, f"{number}.png", large, small)
        self.ack(event)
        friend = self.other.me
        assert await friend.download(url) == large
        assert await friend.download(thumbnail) == small
        made = Image.open(io.BytesIO(await friend.thumbnail(url, 96, 96)))
        assert made.size == (96, 96)


async def meet(home: Any, js: JsSide, nio: NioSide) -> str:
    """Registers, logs in, makes a private room, invites, joins."""
    names = {js: fresh("js"), nio: fresh("nio")}
    for side, name in names.items():
        await side.register(home.base_url, name, PASSWORD, home.registration_token)
        await side.login(home.base_url, name, PASSWORD)
    await asyncio.gather(js.start(), nio.start())
    room = await js.call("createRoom", invite=[nio.user], name="A room for two")
    await nio.wait_invite(room)
    await nio.join(room)
    await js.call("waitMembership", roomId=room, membership="join")
    return room


async def restart_between(home: Any, talks: list[Talk]) -> None:
    """The server goes down and comes back while both sides poll and send."""
    restarting = asyncio.create_task(asyncio.to_thread(home.restart))
    await asyncio.gather(*(talk.text(f"{talk.me.name} during the restart") for talk in talks))
    await restarting
    await asyncio.gather(*(talk.text(f"{talk.me.name} after the restart") for talk in talks))


async def check_live_signals(talks: list[Talk]) -> None:
    """Typing, receipts, unread and highlight counts, in both directions."""
    for me, you in (talks, talks[::-1]):
        room = me.room
        last = await me.text("read me")
        await you.me.receipt(room, last)
        await me.me.wait_read(room, you.me.user, last)
        await you.me.wait_unread(room, 0, 0)
        for number in range(3):
            await me.text(f"unread {number}")
        mention = me.ack(await me.me.text(room, "unread and for you", mention=you.me.user))
        await you.me.wait_unread(room, 4, 1)
        await you.me.receipt(room, mention)
        await you.me.wait_unread(room, 0, 0)
        await me.me.typing(room, True)
        await you.me.wait_typing(room, me.me.user, True)
        await me.me.typing(room, False)
        await you.me.wait_typing(room, me.me.user, False)


async def check_timelines(truth: list[str], talks: list[Talk], js: JsSide, nio: NioSide) -> None:
    """Both clients show what /messages says, all of it, once, in the same order."""
    room = talks[0].room
    for side in (js, nio):
        await side.wait_event(room, truth[-1])
        assert await side.timeline(room) == truth, side.name
    live = [event for event in await js.call("live") if event in set(truth)]
    assert live == [event for event in truth if event in set(live)]
    assert nio.broken == []
    for talk in talks:
        places = [truth.index(event) for event in talk.acknowledged]
        assert places == sorted(places), talk.me.name
        assert len(set(talk.acknowledged)) == len(talk.acknowledged)
    assert len(set(truth)) == len(truth)


async def check_aggregations(reader: Client, talks: list[Talk], js: JsSide) -> None:
    """Edits, redactions and reactions, as the SDK and as the server tells them."""
    room = talks[0].room
    for talk in talks:
        for event, body in talk.bodies.items():
            shown = await js.call("aggregated", roomId=room, event=event)
            assert shown["body"] == body
        for event in talk.redacted:
            assert (await js.call("aggregated", roomId=room, event=event))["redacted"] is True
            assert reader.event(room, event)["content"] == {}
        for reaction, event in talk.reactions.items():
            assert reaction in (await js.call("aggregated", roomId=room, event=event))["reactions"]
    threaded = [event for talk in talks for event in talk.threaded]
    root = reader.event(room, talks[0].root)
    assert root["unsigned"]["m.relations"]["m.thread"]["count"] == len(threaded)
    listed = reader.get(path(f"{V1}/rooms", room, "threads"))["chunk"]
    assert ids(listed) == [talks[0].root]


async def check_threads(home: Any, js: JsSide, talks: list[Talk], truth: list[str], log: Any) -> None:
    """A fresh client with thread support finds the thread: all of it counted, its newest replies shown."""
    late = await JsSide().open(log)
    try:
        await late.login(home.base_url, js.user, PASSWORD)
        await late.start(threads=True)
        root = talks[0].root
        thread = await late.call("thread_of", roomId=talks[0].room, root=root)
        threaded = sorted((event for talk in talks for event in talk.threaded), key=truth.index)
        assert thread["length"] == len(threaded)
        shown = [event for event in thread["events"] if event != root]
        assert shown
        assert shown == threaded[-len(shown) :]
    finally:
        await late.close()


async def scenario(home: Any, logs: Any) -> None:
    js, nio = await JsSide().open(logs / "js.log"), NioSide(home.base_url)
    try:
        room = await meet(home, js, nio)
        root = await js.text(room, "root of the thread")
        talks = [Talk(js, room, root), Talk(nio, room, root)]
        talks[0].other, talks[1].other = talks[1], talks[0]

        async def speak(talk: Talk, numbers: range) -> None:
            for number in numbers:
                await talk.step(number)

        await asyncio.gather(*(speak(talk, range(PER_SIDE // 2)) for talk in talks))
        await restart_between(home, talks)
        await asyncio.gather(*(speak(talk, range(PER_SIDE // 2, PER_SIDE)) for talk in talks))
        await check_live_signals(talks)

        reader = Client(home, js.session)
        truth = ids(reader.history(room))
        await check_timelines(truth, talks, js, nio)
        await check_aggregations(reader, talks, js)
        await check_threads(home, js, talks, truth, logs / "late.log")
    finally:
        await js.close()
        await nio.close()


@pytest.mark.timeout(600)
def test_js_sdk_and_nio_talk_through_a_restart(make_server, tmp_path):
    if why := js_side.missing():
        missing(why)
    asyncio.run(scenario(make_server(), tmp_path))
