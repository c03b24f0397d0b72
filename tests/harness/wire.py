"""HTTP/1.1 over `http.client`: nothing is normalised, retried or followed behind a test's back."""

from __future__ import annotations

import http.client
import json as jsonlib
import ssl
import threading
import urllib.parse
from typing import Any

TIMEOUT_S = 60.0


class Response:
    """One answer. `json` parses on demand, so that a test can look at a broken body."""

    def __init__(self, method: str, path: str, status: int, headers: Any, body: bytes):
        self.method, self.path, self.status = method, path, status
        self.headers, self.body = headers, body

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def errcode(self) -> str | None:
        try:
            value = self.json
        except ValueError:
            return None
        return value.get("errcode") if isinstance(value, dict) else None

    def __repr__(self) -> str:
        return f"{self.method} {self.path} -> {self.status} {self.body[:600]!r}"


class Refused(AssertionError):
    """A request that a test expected to succeed did not."""

    def __init__(self, response: Response):
        super().__init__(repr(response))
        self.response = response


def quote(segment: str) -> str:
    """One path segment, percent-encoded (`/` too)."""
    return urllib.parse.quote(segment, safe="~")


def path(*segments: str) -> str:
    """`path("/_matrix/client/v3/rooms", room, "leave")`: the first part as is, the others quoted."""
    return "/".join([segments[0].rstrip("/"), *(quote(s) for s in segments[1:])])


class Wire:
    """Connections to one base address, one per thread, kept alive.

    A kept-alive connection that the server has closed meanwhile (a restart) is opened anew once, as
    every HTTP client does; an answer that breaks off is an error.
    """

    def __init__(self, base_url: str, reconnect: bool = True, tls: ssl.SSLContext | None = None):
        """`tls`: whom to trust; without it, the connection is plain."""
        self.tls = tls
        parts = urllib.parse.urlsplit(base_url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.reconnect = reconnect
        self._local = threading.local()

    def request(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Response:
        sent = {"Host": f"{self.host}:{self.port}"}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        body = data
        if json is not None:
            body = jsonlib.dumps(json).encode()
            sent["Content-Type"] = "application/json"
        if body is not None or method in ("POST", "PUT", "PATCH"):
            body = body or b""
            sent["Content-Length"] = str(len(body))
        sent.update(headers or {})
        if query:
            target += "?" + urllib.parse.urlencode(
                {k: ("true" if v is True else "false" if v is False else v) for k, v in query.items()},
                doseq=True,
            )
        return self._exchange(method, target, sent, body, timeout)

    def _exchange(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None, timeout: float
    ) -> Response:
        kept = getattr(self._local, "connection", None)
        self._local.connection = None
        if kept is not None:
            try:
                return self._once(kept, method, target, headers, body, timeout)
            except (http.client.RemoteDisconnected, ConnectionError):
                kept.close()
                if not self.reconnect:
                    raise
        fresh = (
            http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
            if self.tls is not None
            else http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        )
        return self._once(fresh, method, target, headers, body, timeout)

    def _once(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Response:
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            try:
                connection.endheaders(body)
            except (BrokenPipeError, ConnectionResetError):
                # A server may answer before it has read a body that is too large: look for the answer, if it was reached.
                if connection.sock is None:
                    raise
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._local.connection = connection
        return Response(method, target, answer.status, answer.headers, content)

    def close(self) -> None:
        kept = getattr(self._local, "connection", None)
        if kept is not None:
            kept.close()
        self._local.connection = None
