"""An application service with every byte under control: what it is told is recorded, what it answers is set."""

from __future__ import annotations

import itertools
import json
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .client import Client
from .server import SERVER_NAME, free_port
from .wire import Response

APP = "/_matrix/app/v1"
WAIT_S = 30.0
_numbers = itertools.count(1)


class Ghost(Client):
    """A user that an application service acts as; without a name, its own."""

    def __init__(self, server: Any, service: Service, user: str = "", **query: Any) -> None:
        super().__init__(server)
        self.token, self.user, self.query = service.as_token, user or service.sender, query
        if user:
            self.query["user_id"] = user

    def raw(self, method: str, target: str, json: Any = None, **more: Any) -> Response:
        more["query"] = {**self.query, **(more.get("query") or {})}
        return super().raw(method, target, json, **more)


class Service:
    """One application service. `answers`: path to (status, body) or a function of the request that gives such."""

    def __init__(self, folder: pathlib.Path, prefix: str = "", **registration: Any) -> None:
        self.name = prefix or f"as{next(_numbers)}"
        self.port = free_port()
        self.as_token, self.hs_token = f"as-token-{self.name}", f"hs-token-{self.name}"
        self.sender = f"@{self.name}bot:{SERVER_NAME}"
        self.registration: dict[str, Any] = {
            "id": self.name,
            "url": f"http://127.0.0.1:{self.port}",
            "as_token": self.as_token,
            "hs_token": self.hs_token,
            "sender_localpart": f"{self.name}bot",
            "rate_limited": False,
            "namespaces": {"users": [{"exclusive": True, "regex": f"@{self.name}_.*"}]},
            **registration,
        }
        # JSON is YAML.
        self.path = folder / f"{self.name}.yaml"
        self.path.write_text(json.dumps(self.registration))
        self.answers: dict[str, Any] = {}
        self.transactions: list[tuple[str, bytes]] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.wrong_token: list[str] = []
        self._changed = threading.Condition()
        self._serving: ThreadingHTTPServer | None = None

    def user(self, name: str) -> str:
        return f"@{self.name}_{name}:{SERVER_NAME}"

    def ghost(self, server: Any, name: str, **query: Any) -> Ghost:
        """A registered user of its namespace."""
        bot = Ghost(server, self)
        body = {"type": "m.login.application_service", "username": f"{self.name}_{name}", "inhibit_login": True}
        bot.call("POST", "/_matrix/client/v3/register", body)
        return Ghost(server, self, self.user(name), **query)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> Service:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if service._serving is None:
                    # It has stopped, and kept connections end with it.
                    self.close_connection = True
                    return
                status, answer = service._answer(self.command, self.path, dict(self.headers), body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_any

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """The server may be killed in the middle of a request."""

        self._serving = Quiet(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._serving.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.shutdown()
            serving.server_close()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        parts = urllib.parse.urlsplit(target)
        path, query = urllib.parse.unquote(parts.path), dict(urllib.parse.parse_qsl(parts.query))
        sent = {name.lower(): value for name, value in headers.items()}
        with self._changed:
            self.asked.append((method, path, query))
            if sent.get("authorization") != f"Bearer {self.hs_token}":
                self.wrong_token.append(target)
            answer = self.answers.get(path)
            for prefix in (f"{APP}/transactions/", "/transactions/"):
                if answer is None and path.startswith(prefix):
                    answer = self.answers.get(prefix)
            if callable(answer):
                self._changed.release()
                try:
                    answer = answer(method, path, query, body)
                finally:
                    self._changed.acquire()
            if method == "PUT" and "/transactions/" in path:
                if answer is None or answer[0] == 200:
                    self.transactions.append((path.rsplit("/", 1)[1], body))
                    answer = answer or (200, {})
            self._changed.notify_all()
        return answer or (404, {"errcode": "M_UNRECOGNIZED"})

    # -- what it was told --------------------------------------------------------------------------

    def told(self, key: str = "events") -> list[dict[str, Any]]:
        """Everything of that kind, each transaction once. One that came again must have said the same."""
        with self._changed:
            first: dict[str, Any] = {}
            for number, body in self.transactions:
                said = json.loads(body)
                assert first.setdefault(number, said)["events"] == said["events"], number
        return [one for said in first.values() for one in said.get(key, [])]

    def wait(self, found: Callable[[], Any], why: str = "it") -> Any:
        deadline = time.monotonic() + WAIT_S
        while True:
            with self._changed:
                asked = len(self.asked)
            result = found()
            if result:
                return result
            with self._changed:
                # What came while it was looked for counts, or its news would be missed.
                left = max(0.0, deadline - time.monotonic())
                if not self._changed.wait_for(lambda before=asked: len(self.asked) > before, left):
                    raise AssertionError(f"{why} did not come within {WAIT_S} s; told: {self.told()[-5:]}")

    def wait_event(self, event: str) -> dict[str, Any]:
        found = self.wait(lambda: [e for e in self.told() if e["event_id"] == event], event)
        assert len(found) == 1, found
        return found[0]
