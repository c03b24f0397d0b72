"""A bridge on mautrix, unmodified: ghosts that come, join and speak, and a list of what it was told."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import time
from typing import Any

from mautrix.appservice import AppService
from mautrix.appservice.state_store import FileASStateStore
from mautrix.types import EventType, MessageType, TextMessageEventContent, UserID

from harness.appservice import Service
from harness.server import SERVER_NAME

WAIT_S = 90.0
# It waits 4 s after a first failure, 6 s after the second, and so on.
RETRIES = 8


class BridgeSide:
    """The framework with what a bridge does on top of it. `service` has the registration; it is not started."""

    def __init__(self, base_url: str, service: Service, folder: pathlib.Path) -> None:
        self.service = service
        logging.getLogger("mau").setLevel(logging.ERROR)
        self.app = AppService(
            base_url, SERVER_NAME, service.as_token, service.hs_token, f"{service.name}bot", service.name,
            state_store=FileASStateStore(path=str(folder / "mx-state.json"), binary=False),
            default_http_retry_count=RETRIES, ephemeral_events=True,
        )  # fmt: skip
        self.heard: list[tuple[str, str]] = []
        self.typing: list[Any] = []
        self._changed = asyncio.Condition()
        self.app.matrix_event_handler(self._on_event)

    async def start(self) -> None:
        await self.app.start("127.0.0.1", self.service.port)

    async def close(self) -> None:
        await self.app.stop()

    async def _on_event(self, event: Any) -> None:
        async with self._changed:
            if event.type.is_ephemeral:
                self.typing.append(event)
            else:
                self.heard.append((event.room_id, event.event_id))
            self._changed.notify_all()

    def ghost(self, number: int) -> Any:
        return self.app.intent.user(UserID(self.service.user(str(number))))

    async def make_room(self, invite: list[str], number: int) -> str:
        return await self.app.intent.create_room(name=f"Portal {number}", invitees=[UserID(u) for u in invite])

    async def say(self, number: int, room: str, body: str) -> str:
        content = TextMessageEventContent(msgtype=MessageType.TEXT, body=body)
        return await self.ghost(number).send_message_event(room, EventType.ROOM_MESSAGE, content)

    async def wait_heard(self, room: str, event: str) -> None:
        deadline = time.monotonic() + WAIT_S
        async with self._changed:
            while (room, event) not in self.heard:
                left = deadline - time.monotonic()
                assert left > 0, f"{event} in {room} was not heard within {WAIT_S} s"
                try:
                    await asyncio.wait_for(self._changed.wait(), left)
                except TimeoutError:
                    continue
