"""Devices with real cryptography, driven by lines of JSON: matrix-js-sdk (`js/encryption.mjs`) and matrix-rust-sdk
(`judge/src/encryption`) speak the same verbs. One process of each SDK holds all of its devices."""

from __future__ import annotations

import base64
import os
import pathlib
import shutil
from typing import Any

from harness.component import missing
from harness.lines import Lines, SdkError

JS = pathlib.Path(__file__).resolve().parents[1] / "js"
RUST = os.environ.get("ALTHING_TEST_CRYPTO_JUDGE")
NODE = os.environ.get("ALTHING_TEST_NODE", "node")
CALL_S = 180.0


class Sdk(Lines):
    """One process of one SDK."""

    async def call(self, device: str, verb: str, /, **args: Any) -> Any:
        return await self.ask(CALL_S, device=device, verb=verb, args=args)


def js(logs: pathlib.Path) -> Sdk:
    if shutil.which(NODE) is None or not (JS / "node_modules" / "matrix-js-sdk").is_dir():
        missing("matrix-js-sdk is not installed: `tools/test --only encryption` installs it")
    return Sdk("matrix-js-sdk", [NODE, "encryption.mjs"], logs / "js.log", JS)


def rust(logs: pathlib.Path) -> Sdk:
    if not RUST:
        missing("the judge is not built: `tools/test --only encryption` builds it")
    return Sdk("matrix-rust-sdk", [str(RUST)], logs / "rust.log")


class Device:
    """One device: a login, and what its owner does with it."""

    def __init__(self, sdk: Sdk, name: str) -> None:
        self.sdk, self.name = sdk, name
        self.session: dict[str, Any] = {}

    @property
    def user(self) -> str:
        return self.session["user_id"]

    @property
    def id(self) -> str:
        return self.session["device_id"]

    async def call(self, verb: str, /, **args: Any) -> Any:
        try:
            return await self.sdk.call(self.name, verb, **args)
        except SdkError as error:
            raise SdkError(f"{self.name}.{verb}({args}): {error}") from None

    async def login(self, base_url: str, user: str, password: str, sliding: bool = False) -> Device:
        """`sliding`: syncs as Element X does, where the SDK can."""
        self.session = await self.call("login", baseUrl=base_url, user=user, password=password)
        await self.call("start", sliding=sliding)
        return self

    async def text(self, room: str, body: str) -> str:
        return await self.call("text", roomId=room, body=body)

    async def wait_text(self, room: str, event: str) -> str:
        return await self.call("waitText", roomId=room, event=event)

    async def read(self, room: str) -> dict[str, dict[str, Any]]:
        """Every encrypted event of the room by its id: `sender`, `body`, and `utd`, why it cannot be read (or null)."""
        return await self.call("read", roomId=room)

    async def attach(self, room: str, name: str, data: bytes) -> str:
        return await self.call("attach", roomId=room, name=name, base64=base64.b64encode(data).decode())

    async def fetch(self, room: str, event: str) -> bytes:
        return base64.b64decode(await self.call("fetch", roomId=room, event=event) + "==")
