"""A mail server that keeps what it is given."""

from __future__ import annotations

import email
import email.policy
import re
import threading
import time
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from .server import free_port

WAIT_S = 20.0


class Mailbox:
    """Listens on a loopback port. `reply`: what it says to each letter instead of taking it."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.reply: str | None = None
        self.asked = 0
        self._changed = threading.Condition()
        self._port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)
        self._controller.start()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self._changed:
            self.asked += 1
            if self.reply is None:
                self.letters.append(message)
            self._changed.notify_all()
        return self.reply or "250 OK"

    def wait(self, count: int = 1) -> EmailMessage:
        """The letter of this number (from 1), as soon as it is there."""
        self.wait_for(lambda: len(self.letters) >= count, f"letter {count}")
        return self.letters[count - 1]

    def wait_for(self, found: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while not found():
                left = deadline - time.monotonic()
                assert left > 0, f"{what} did not come within {WAIT_S} s"
                self._changed.wait(left)

    def stop(self) -> None:
        self._controller.stop()


def part(letter: EmailMessage, kind: str = "plain") -> str:
    body = letter.get_body((kind,))
    assert body is not None, f"no {kind} part"
    return body.get_content()


def link(letter: EmailMessage) -> str:
    """The first link of a letter."""
    found = re.search(r"https?://\S+", part(letter))
    assert found is not None, part(letter)
    return found[0]
