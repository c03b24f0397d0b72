"""A push gateway: takes what it is told, and answers what a test wants."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 20.0
PATH = "/_matrix/push/v1/notify"


class Gateway:
    """Listens on a loopback port. `status` other than 200: it refuses; it still counts as `asked`."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.asked = 0
        self.at_once = self.at_once_max = 0
        self.status = 200
        self.rejected: list[str] = []
        # Cleared, it answers only after it is set again.
        self.open = threading.Event()
        self.open.set()
        self._changed = threading.Condition()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = gateway._take(self.path, json.loads(body))
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def _take(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.asked += 1
            self.at_once += 1
            self.at_once_max = max(self.at_once, self.at_once_max)
            self._changed.notify_all()
        self.open.wait(WAIT_S)
        with self._changed:
            self.at_once -= 1
            if path != PATH or self.status != 200:
                return self.status if path == PATH else 404, {"errcode": "M_UNKNOWN", "error": "no"}
            self.told.append(body["notification"])
            self._changed.notify_all()
            return 200, {"rejected": self.rejected}

    def wait(self, found: Any, what: str = "what was awaited") -> Any:
        """Waits until `found(gateway)` gives something truthy, and gives that."""
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while not (result := found(self)):
                left = deadline - time.monotonic()
                assert left > 0, f"{what} did not come within {WAIT_S} s; told: {self.told}"
                self._changed.wait(left)
            return result

    def event(self, event_id: str) -> dict[str, Any]:
        """What it was told of an event, as soon as it is."""
        return self.wait(lambda g: next((n for n in g.told if n.get("event_id") == event_id), None), event_id)

    def ids(self) -> list[str]:
        """The events told, in order."""
        return [n["event_id"] for n in self.told if "event_id" in n]

    def stop(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
