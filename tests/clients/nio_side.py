"""matrix-nio, with the little that an application on top of it does: keep a timeline, fill gaps."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from typing import Any

import nio

WAIT_S = 60.0


class NioSide:
    """One matrix-nio client."""

    name = "matrix-nio"

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.client = nio.AsyncClient(base_url)
        self.user = ""
        self.events: dict[str, list[str]] = {}
        self.broken: list[Any] = []
        self.read: dict[tuple[str, str], str] = {}
        self._changed = asyncio.Condition()
        self._syncing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        await self.client.close()

    # -- what a user does --------------------------------------------------------------------------

    async def register(self, base_url: str, name: str, password: str, token: str) -> None:
        # Its helper wants a dummy stage after the token. On a server whose flow ends with the token it
        # reports an error although the account was made; the login that follows tells.
        await self.client.register_with_token(name, password, token)
        await self.client.close()
        self.client = nio.AsyncClient(base_url, name)

    async def login(self, base_url: str, name: str, password: str) -> None:
        answer = await self.client.login(password, device_name="nio")
        assert isinstance(answer, nio.LoginResponse), answer
        self.user = self.client.user_id

    async def start(self) -> None:
        self.client.add_response_callback(self._on_sync, nio.SyncResponse)
        self.client.add_ephemeral_callback(self._on_receipt, nio.ReceiptEvent)
        self._syncing = asyncio.create_task(self.client.sync_forever(timeout=30_000))
        await asyncio.wait_for(self.client.synced.wait(), WAIT_S)

    async def _on_sync(self, answer: nio.SyncResponse) -> None:
        for room, info in answer.rooms.join.items():
            known = self.events.setdefault(room, [])
            new = info.timeline.events
            if info.timeline.limited:
                new = await self._gap(room, info.timeline.prev_batch, set(known), new)
            self.broken += [e for e in new if isinstance(e, (nio.BadEvent, nio.UnknownBadEvent))]
            known += [event.event_id for event in new]
        async with self._changed:
            self._changed.notify_all()

    async def _gap(self, room: str, start: str, known: set[str], new: list[Any]) -> list[Any]:
        """The new events, preceded by what /messages has between the last known event and them."""
        have = {event.event_id for event in new}
        found: list[Any] = []
        while True:
            answer = await self.client.room_messages(room, start, limit=30)
            assert isinstance(answer, nio.RoomMessagesResponse), answer
            for event in answer.chunk:
                if event.event_id in known:
                    return found[::-1] + new
                # Synapse's `prev_batch` of a room just joined overlaps with its timeline.
                if event.event_id not in have:
                    found.append(event)
            if not answer.chunk or answer.end is None:
                return found[::-1] + new
            start = answer.end

    async def _on_receipt(self, room: nio.MatrixRoom, event: nio.ReceiptEvent) -> None:
        for receipt in event.receipts:
            if receipt.receipt_type == "m.read":
                self.read[room.room_id, receipt.user_id] = receipt.event_id

    async def _send(self, room: str, kind: str, content: dict[str, Any]) -> str:
        answer = await self.client.room_send(room, kind, content)
        assert isinstance(answer, nio.RoomSendResponse), answer
        return answer.event_id

    async def join(self, room: str) -> None:
        answer = await self.client.join(room)
        assert isinstance(answer, nio.JoinResponse), answer

    async def text(self, room: str, body: str, mention: str | None = None, **more: Any) -> str:
        content = {"msgtype": "m.text", "body": body, **more}
        if mention is not None:
            content["m.mentions"] = {"user_ids": [mention]}
        return await self._send(room, "m.room.message", content)

    async def reply(self, room: str, event: str, body: str) -> str:
        return await self.text(room, body, **{"m.relates_to": {"m.in_reply_to": {"event_id": event}}})

    async def edit(self, room: str, event: str, body: str) -> str:
        relation = {"rel_type": "m.replace", "event_id": event}
        content = {"msgtype": "m.text", "body": body}
        return await self.text(room, f"* {body}", **{"m.new_content": content, "m.relates_to": relation})

    async def react(self, room: str, event: str, key: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        return await self._send(room, "m.reaction", {"m.relates_to": relation})

    async def thread(self, room: str, root: str, body: str) -> str:
        return await self.text(room, body, **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})

    async def redact(self, room: str, event: str) -> str:
        answer = await self.client.room_redact(room, event, reason="a test")
        assert isinstance(answer, nio.RoomRedactResponse), answer
        return answer.event_id

    async def image(self, room: str, body: str, picture: bytes, small: bytes) -> tuple[str, str, str]:
        urls = []
        for data in (picture, small):
            answer, _ = await self.client.upload(
                io.BytesIO(data), "image/png", filename=body, filesize=len(data)
            )
            assert isinstance(answer, nio.UploadResponse), answer
            urls.append(answer.content_uri)
        info = {"mimetype": "image/png", "thumbnail_url": urls[1]}
        content = {"msgtype": "m.image", "body": body, "url": urls[0], "info": info}
        return await self._send(room, "m.room.message", content), urls[0], urls[1]

    async def download(self, url: str) -> bytes:
        answer = await self.client.download(url)
        assert isinstance(answer, nio.MemoryDownloadResponse), answer
        return answer.body

    async def thumbnail(self, url: str, width: int, height: int) -> bytes:
        server, media = url.removeprefix("mxc://").split("/")
        answer = await self.client.thumbnail(server, media, width, height, nio.ResizingMethod.crop)
        assert isinstance(answer, nio.ThumbnailResponse), answer
        return answer.body

    async def receipt(self, room: str, event: str) -> None:
        await self.wait_event(room, event)
        # Its way to an unthreaded receipt; update_receipt_marker always names a thread.
        answer = await self.client.room_read_markers(room, event, event)
        assert isinstance(answer, nio.RoomReadMarkersResponse), answer

    async def typing(self, room: str, on: bool) -> None:
        answer = await self.client.room_typing(room, on)
        assert isinstance(answer, nio.RoomTypingResponse), answer

    # -- what a user sees --------------------------------------------------------------------------

    async def _until(self, what: str, look: Callable[[], Any]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not look():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"nio waited {WAIT_S} s for {what}")
            if self._syncing is not None and self._syncing.done():
                self._syncing.result()
            async with self._changed:
                try:
                    await asyncio.wait_for(self._changed.wait(), min(left, 1.0))
                except TimeoutError:
                    pass

    async def wait_invite(self, room: str) -> None:
        await self._until(f"invite to {room}", lambda: room in self.client.invited_rooms)

    async def wait_event(self, room: str, event: str) -> None:
        await self._until(f"event {event}", lambda: event in self.events.get(room, ()))

    async def wait_read(self, room: str, user: str, event: str) -> None:
        await self._until(f"{user} to read {event}", lambda: self.read.get((room, user)) == event)

    async def wait_typing(self, room: str, user: str, on: bool) -> None:
        await self._until(
            f"typing {on} of {user}", lambda: (user in self.client.rooms[room].typing_users) is on
        )

    async def wait_unread(self, room: str, total: int, highlight: int) -> None:
        def counts() -> tuple[int, int]:
            known = self.client.rooms[room]
            return known.unread_notifications, known.unread_highlights

        try:
            await self._until(f"unread {total}/{highlight}", lambda: counts() == (total, highlight))
        except AssertionError as error:
            raise AssertionError(f"{error}, have {counts()}") from None

    async def timeline(self, room: str) -> list[str]:
        return self.events[room]
