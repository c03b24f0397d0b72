"""A client that shows a room list by sliding sync, in a process of its own: what it tells, and what it is told."""

from __future__ import annotations

import json
import pathlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

WAIT_S = 120.0


class RoomList:
    """Lines of JSON come out: `rooms` (how many there are), `shown` (room ids from the top), `first` (about those)."""

    def __init__(self, command: list[str], log: pathlib.Path, cwd: pathlib.Path | None = None) -> None:
        self._log = open(log, "wb")
        self._process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.rooms: int | None = None
        self.shown: list[str] = []
        self.first: dict[str, Any] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Reads what the client tells until it shows what is wanted."""
        deadline = time.monotonic() + WAIT_S
        while not holds():
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"waited {WAIT_S} s for {what}; {len(self.shown)} shown") from None
            assert line is not None, f"the client ended while waiting for {what}: see {self._log.name}"
            told = json.loads(line)
            assert "error" not in told, told
            self.rooms = told.get("rooms", self.rooms)
            if "shown" in told:
                self.shown, self.first = told["shown"], told["first"]

    def scroll(self, rooms: int) -> None:
        """Asks for page after page until so many rooms are shown."""
        while len(self.shown) < rooms:
            before = len(self.shown)
            self.say("more")
            self.until(lambda: len(self.shown) > before, f"more than {before} rooms")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
