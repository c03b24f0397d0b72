"""What a homeserver talks to: an application service, a push gateway and a web page (one HTTP server), and a mailbox."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import queue
import re
import threading
from typing import Any

from aiosmtpd.controller import Controller
from harness.server import free_port

PAGE = b'<html><head><title>A page</title><meta property="og:title" content="Althing"></head><body>text</body></html>'
PROTOCOL = {
    "user_fields": ["nick"],
    "location_fields": ["channel"],
    "icon": "mxc://althing.test/icon",
    "field_types": {
        "nick": {"regexp": "[^\\s]+", "placeholder": "nick"},
        "channel": {"regexp": "#[^\\s]+", "placeholder": "#channel"},
    },
    "instances": [{"desc": "A network", "icon": "mxc://althing.test/icon", "fields": {}, "network_id": "net"}],
}
USERS = [{"userid": "@_cov_nick:althing.test", "protocol": "cov", "fields": {"nick": "nick"}}]
LOCATIONS = [{"alias": "#_cov_chan:althing.test", "protocol": "cov", "fields": {"channel": "#chan"}}]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.requests.put((self.command, self.path, self.rfile.read(length)))  # type: ignore[attr-defined]
        body, kind = self._body()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> tuple[bytes, str]:
        path = self.path.split("?")[0]
        if path == "/page":
            return PAGE, "text/html"
        answer: Any = {}
        if "/thirdparty/protocol/" in path:
            answer = PROTOCOL
        elif "/thirdparty/user" in path:
            answer = USERS
        elif "/thirdparty/location" in path:
            answer = LOCATIONS
        elif path.endswith("/notify"):
            answer = {"rejected": []}
        return json.dumps(answer).encode(), "application/json"

    do_GET = do_PUT = do_POST = _answer

    def log_message(self, *_: Any) -> None:
        """The server under test has the log that matters."""


class World(http.server.ThreadingHTTPServer):
    """Answers 200 to everything, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Mailbox:
    """An SMTP server that keeps what it was given."""

    def __init__(self) -> None:
        self.mails: queue.Queue[tuple[str, str]] = queue.Queue()
        port = free_port()
        self.controller = Controller(self, hostname="127.0.0.1", port=port)
        self.controller.start()
        self.url = f"smtp://127.0.0.1:{port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        self.mails.put((envelope.rcpt_tos[0], body.get_content() if body else ""))
        return "250 OK"

    def link_to(self, address: str) -> str:
        """The first link of the next mail to an address, without its scheme and host."""
        while True:
            to, text = self.mails.get(timeout=20)
            if to == address:
                found = re.search(r"https?://[^/\s]+(/\S+)", text)
                assert found, text
                return found[1]

    def stop(self) -> None:
        self.controller.stop()
