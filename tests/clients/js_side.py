"""matrix-js-sdk in its own Node process, driven through `js/driver.mjs`."""

from __future__ import annotations

import base64
import os
import pathlib
import shutil
from typing import Any

from harness.lines import Lines

JS = pathlib.Path(__file__).resolve().parents[1] / "js"
CALL_S = 120.0


def missing() -> str | None:
    """Why the SDK cannot run here, if it cannot."""
    if shutil.which(node()) is None:
        return "Node 20 or newer is not installed"
    if not (JS / "node_modules" / "matrix-js-sdk").is_dir():
        return "matrix-js-sdk is not installed: run `npm ci` in tests/js"
    return None


def node() -> str:
    return os.environ.get("ALTHING_TEST_NODE", "node")


class JsSide:
    """One matrix-js-sdk client."""

    name = "matrix-js-sdk"

    def __init__(self) -> None:
        self.user = ""
        self.session: dict[str, Any] = {}

    async def open(self, log: pathlib.Path) -> JsSide:
        self._lines = Lines(self.name, [node(), "driver.mjs"], log, JS)
        await self._lines.open()
        return self

    async def call(self, verb: str, **args: Any) -> Any:
        return await self._lines.ask(CALL_S, verb=verb, args=args)

    async def close(self) -> None:
        await self._lines.close()

    # -- what a user does --------------------------------------------------------------------------

    async def register(self, base_url: str, name: str, password: str, token: str) -> None:
        await self.call("register", baseUrl=base_url, username=name, password=password, token=token)

    async def login(self, base_url: str, name: str, password: str) -> None:
        self.session = await self.call("login", baseUrl=base_url, user=name, password=password)
        self.user = self.session["user_id"]

    async def start(self, **options: Any) -> None:
        await self.call("start", **options)

    async def text(self, room: str, body: str, mention: str | None = None) -> str:
        return await self.call("text", roomId=room, body=body, mention=mention)

    async def reply(self, room: str, event: str, body: str) -> str:
        return await self.call("reply", roomId=room, event=event, body=body)

    async def edit(self, room: str, event: str, body: str) -> str:
        return await self.call("edit", roomId=room, event=event, body=body)

    async def react(self, room: str, event: str, key: str) -> str:
        return await self.call("react", roomId=room, event=event, key=key)

    async def thread(self, room: str, root: str, body: str) -> str:
        return await self.call("thread", roomId=room, root=root, body=body)

    async def redact(self, room: str, event: str) -> str:
        return await self.call("redact", roomId=room, event=event)

    async def image(self, room: str, body: str, picture: bytes, small: bytes) -> tuple[str, str, str]:
        sent = await self.call(
            "image", roomId=room, body=body,
            base64=base64.b64encode(picture).decode(), thumbnailBase64=base64.b64encode(small).decode(),
        )  # fmt: skip
        return sent["event"], sent["url"], sent["thumbnail_url"]

    async def download(self, url: str) -> bytes:
        return self._media(await self.call("download", url=url))

    async def thumbnail(self, url: str, width: int, height: int) -> bytes:
        return self._media(await self.call("thumbnail", url=url, width=width, height=height))

    @staticmethod
    def _media(answer: dict[str, Any]) -> bytes:
        assert answer["status"] == 200, answer
        return base64.b64decode(answer["base64"])

    async def receipt(self, room: str, event: str) -> None:
        await self.call("receipt", roomId=room, event=event)

    async def typing(self, room: str, on: bool) -> None:
        await self.call("typing", roomId=room, on=on)

    # -- what a user sees --------------------------------------------------------------------------

    async def wait_event(self, room: str, event: str) -> None:
        await self.call("waitEvent", roomId=room, event=event)

    async def wait_read(self, room: str, user: str, event: str) -> None:
        await self.call("waitRead", roomId=room, user=user, event=event)

    async def wait_typing(self, room: str, user: str, on: bool) -> None:
        await self.call("waitTyping", roomId=room, user=user, on=on)

    async def wait_unread(self, room: str, total: int, highlight: int) -> None:
        await self.call("waitUnread", roomId=room, total=total, highlight=highlight)

    async def timeline(self, room: str) -> list[str]:
        return await self.call("timeline", roomId=room)
