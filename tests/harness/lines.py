"""A process that answers lines of JSON: `{"id", ...}` in, `{"id", "result"}` or `{"id", "error"}` out, in any order."""

from __future__ import annotations

import asyncio
import itertools
import json
import pathlib
from typing import Any, Self


class SdkError(AssertionError):
    """The SDK in the process reported a failure."""


class Lines:
    """One process, with what it writes to standard error in a file."""

    def __init__(self, name: str, command: list[str], log: pathlib.Path, cwd: pathlib.Path | None = None) -> None:
        self.name, self._command, self.log, self._cwd = name, command, log, cwd
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def open(self) -> Self:
        self._log = open(self.log, "wb")
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=self._cwd, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=self._log, limit=1 << 26,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._waiting.pop(answer["id"])
            if waiting.done():
                continue
            if "error" in answer:
                waiting.set_exception(SdkError(f"{self.name}: {answer['error']}\n{answer.get('data')}"))
            else:
                waiting.set_result(answer["result"])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(SdkError(f"the process of {self.name} ended: see {self.log}"))

    async def ask(self, seconds: float, **question: Any) -> Any:
        """The answer, if it comes within so many seconds."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write((json.dumps({"id": number, **question}) + "\n").encode())
        try:
            return await asyncio.wait_for(self._waiting[number], seconds)
        except TimeoutError:
            raise SdkError(f"{self.name}: no answer to {question} within {seconds} s") from None

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader
        self._log.close()
