"""A scripted server: own keys, an HTTPS port with programmable answers, signed requests. Honest unless a test says otherwise.

What it answers by itself: its keys, its version, and for rooms that it made or joined what the Server-Server API asks
about them. `on` puts anything else in the place of an answer, down to the bytes.
"""

from __future__ import annotations

import itertools
import json
import re
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .authority import Authority
from .events import Event, Key, canonical, cosigned, id_of, signed
from .rooms import Room
from .server import free_port
from .wire import Refused, Response, Wire, path

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
DAY_MS = 86_400_000
WAIT_S = 60.0
VERSIONS = [str(number) for number in range(1, 13)]
_numbers = itertools.count(1)


def now_ms() -> int:
    return int(time.time() * 1000)


class Asked:
    """One request that came in."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.handler, self.method, self.target, self.body = handler, handler.command, handler.path, body
        parts = urllib.parse.urlsplit(self.target)
        self.path = parts.path
        self.query = urllib.parse.parse_qs(parts.query)
        self.segments = [urllib.parse.unquote(part) for part in parts.path.split("/") if part]
        found = re.search(r'origin="?([^",]+)', handler.headers.get("Authorization", ""))
        self.origin = found[1] if found else ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# What a test puts in the place of an answer: (status, body), where the body is JSON or bytes, or None if it has
# written the answer itself (`asked.handler.wfile`).
Answer = tuple[int, Any] | None


class Peer:
    """`localhost:PORT` unless named otherwise (`127.0.0.1`); several servers may share a process, not a port."""

    def __init__(self, authority: Authority, host: str = "localhost", key: Key | None = None) -> None:
        self.authority, self.port = authority, free_port()
        self.name = f"{host}:{self.port}"
        self.key = key or Key()
        self.old_keys: dict[str, dict[str, Any]] = {}
        self.valid_for_ms = DAY_MS
        self.rooms: dict[str, Room] = {}
        self.asked: list[Asked] = []
        self.pdus: list[Event] = []
        self.edus: list[dict[str, Any]] = []
        self.listens = True
        self._answers: list[tuple[str, str, Callable[[Asked], Answer]]] = []
        self._changed = threading.Condition()
        self._wires: dict[str, Wire] = {}
        self._serving = _Serving(self, authority)

    def user(self, localpart: str) -> str:
        return f"@{localpart}:{self.name}"

    def stop(self) -> None:
        if self.listens:
            self.listens = False
            self._serving.shutdown()
            self._serving.server_close()
        for wire in self._wires.values():
            wire.close()

    # -- answering ---------------------------------------------------------------------------------

    def on(self, method: str, prefix: str, answer: Callable[[Asked], Answer]) -> None:
        """From now on this answers what begins like that; the latest rule wins."""
        self._answers.insert(0, (method, prefix, answer))

    def forget_answers(self) -> None:
        self._answers.clear()

    def answer(self, asked: Asked) -> Answer:
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        for method, prefix, chosen in list(self._answers):
            if method == asked.method and asked.path.startswith(prefix):
                return chosen(asked)
        try:
            return self._honest(asked)
        except (KeyError, IndexError):
            return 404, {"errcode": "M_NOT_FOUND", "error": "no such thing here"}

    def keys(self, valid_for_ms: int | None = None) -> dict[str, Any]:
        """What it says of its keys, signed."""
        until = now_ms() + (self.valid_for_ms if valid_for_ms is None else valid_for_ms)
        said = {
            "server_name": self.name,
            "verify_keys": {self.key.id: {"key": self.key.public}},
            "old_verify_keys": self.old_keys,
            "valid_until_ts": until,
        }
        return self.key.sign(said, self.name)

    def _honest(self, asked: Asked) -> Answer:
        words = asked.segments
        if words[:3] == ["_matrix", "key", "v2"] and words[3] == "server":
            return 200, self.keys()
        if words[:2] != ["_matrix", "federation"]:
            raise KeyError(asked.path)
        match words[3]:
            case "version":
                return 200, {"server": {"name": "peer", "version": "1"}}
            case "send":
                return 200, self._take(asked.json)
            case "query" if words[4] == "profile":
                return 200, {"displayname": "Nobody"}
            case "query" if words[4] == "directory":
                alias = asked.query["room_alias"][0]
                room = next(room for room in self.rooms.values() if alias in room.aliases)
                return 200, {"room_id": room.id, "servers": [self.name]}
            case "event":
                for room in self.rooms.values():
                    if words[4] in room.events:
                        return 200, {"origin": self.name, "origin_server_ts": now_ms(), "pdus": [room.events[words[4]]]}
                raise KeyError(words[4])
            case "user":
                return 200, {"user_id": words[-1], "stream_id": 1, "devices": []}
        return self.rooms[words[4]].answer(self, asked)

    def _take(self, sent: dict[str, Any]) -> dict[str, Any]:
        answers = {}
        with self._changed:
            for event in sent.get("pdus", []):
                self.pdus.append(event)
                room = self.rooms.get(event.get("room_id", ""))
                if room is not None:
                    answers[room.add(event)] = {}
            self.edus += sent.get("edus", [])
            self._changed.notify_all()
        return {"pdus": answers}

    def wait(self, found: Callable[[], Any], what: str = "what was awaited", wait_s: float = WAIT_S) -> Any:
        """Waits until `found()` gives something truthy; it is asked again after each request that came."""
        deadline = time.monotonic() + wait_s
        with self._changed:
            while not (result := found()):
                left = deadline - time.monotonic()
                assert left > 0, f"{what} did not come within {wait_s} s; asked: {[a.target for a in self.asked[-10:]]}"
                self._changed.wait(min(left, 1.0))
            return result

    def count(self, method: str, prefix: str) -> int:
        return sum(1 for asked in self.asked if asked.method == method and asked.path.startswith(prefix))

    # -- asking ------------------------------------------------------------------------------------

    def authorization(
        self, method: str, target: str, body: Any, destination: str, *, origin: str | None = None, key: Key | None = None
    ) -> str:
        """The header of a signed request."""
        origin, key = origin or self.name, key or self.key
        said = {"method": method, "uri": target, "origin": origin, "destination": destination}
        if body is not None:
            said["content"] = body
        parts = {"origin": origin, "destination": destination, "key": key.id, "sig": key.signature(said)}
        return "X-Matrix " + ",".join(f'{name}="{value}"' for name, value in parts.items())

    def request(
        self,
        to: Any,
        method: str,
        target: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        authorization: str | None = None,
        timeout: float = 60.0,
    ) -> Response:
        """A signed request. `data` sends other bytes than were signed; `authorization` is sent as it is (empty: none)."""
        if authorization is None:
            authorization = self.authorization(method, target, body, to.name)
        wire = self._wires.get(to.name)
        if wire is None:
            wire = self._wires[to.name] = Wire(f"https://{to.name}", tls=self.authority.trusting())
        headers = {"Authorization": authorization} if authorization else {}
        sent = data if data is not None else None if body is None else canonical(body)
        if sent is not None:
            headers["Content-Type"] = "application/json"
        return wire.request(method, target, data=sent, headers=headers, timeout=timeout)

    def get(self, to: Any, target: str) -> Any:
        answer = self.request(to, "GET", target)
        if answer.status != 200:
            raise Refused(answer)
        return answer.json

    def transaction(self, pdus: Iterable[Any] = (), edus: Iterable[Any] = ()) -> dict[str, Any]:
        return {"origin": self.name, "origin_server_ts": now_ms(), "pdus": list(pdus), "edus": list(edus)}

    def send(
        self, to: Any, pdus: Iterable[Any] = (), edus: Iterable[Any] = (), txn: str | None = None, **more: Any
    ) -> Response:
        """A transaction, whatever the answer."""
        target = path(f"{V1}/send", txn or f"{now_ms()}-{next(_numbers)}")
        return self.request(to, "PUT", target, self.transaction(pdus, edus), **more)

    def tell(self, to: Any, *pdus: Event, edus: Iterable[Any] = ()) -> dict[str, Any]:
        """A transaction that must be taken; gives what was said of each event."""
        answer = self.send(to, pdus, edus)
        if answer.status != 200:
            raise Refused(answer)
        return answer.json["pdus"]

    # -- rooms -------------------------------------------------------------------------------------

    def make_join(self, to: Any, room: str, user: str) -> Response:
        target = path(f"{V1}/make_join", room, user) + "?" + "&".join(f"ver={version}" for version in VERSIONS)
        return self.request(to, "GET", target)

    def send_join(self, to: Any, event: Event, version: str) -> Response:
        target = path(f"{V2}/send_join", event["room_id"], id_of(event, version))
        return self.request(to, "PUT", target, event)

    def finished(self, template: Event, version: str, **more: Any) -> Event:
        """A template of another server, made an event of ours."""
        event = {**template, "origin_server_ts": now_ms(), **more}
        if int(version) <= 2:
            event["event_id"] = f"${next(_numbers)}-{now_ms()}:{self.name}"
        return signed(event, version, self.name, self.key)

    def join(self, to: Any, room: str, user: str) -> Room:
        """Joins a room of another server by its handshake, and keeps it."""
        template = self.make_join(to, room, user)
        if template.status != 200:
            raise Refused(template)
        version = template.json.get("room_version", "1")
        event = self.finished(template.json["event"], version)
        answer = self.send_join(to, event, version)
        if answer.status != 200:
            raise Refused(answer)
        said = answer.json
        kept = self.rooms.get(room)
        if kept is None:
            kept = self.rooms[room] = Room(version, room)
            for one in [*said["auth_chain"], *said["state"]]:
                kept.know(one)
            kept.state = {(one["type"], one["state_key"]): id_of(one, version) for one in said["state"]}
            kept.heads = []
        kept.add(said.get("event") or event)
        return kept

    def create_room(self, version: str, user: str, *, join_rule: str = "public", **create: Any) -> Room:
        """A room of its own."""
        room = self.found(version, user, **create)
        levels: dict[str, Any] = {"users": {} if int(version) >= 12 else {user: 100}}
        self.add(room, user, "m.room.power_levels", levels, "")
        self.add(room, user, "m.room.join_rules", {"join_rule": join_rule}, "")
        self.add(room, user, "m.room.history_visibility", {"history_visibility": "shared"}, "")
        return room

    def found(self, version: str, user: str, **create: Any) -> Room:
        """A create event and its creator's join."""
        at = int(version)
        content = {"room_version": version, **({} if at >= 11 else {"creator": user}), **create}
        room = Room(version, "" if at >= 12 else f"!{next(_numbers)}x{now_ms()}:{self.name}")
        first = self.add(room, user, "m.room.create", content, "")
        if at >= 12:
            room.id = "!" + first[1:]
        self.rooms[room.id] = room
        self.add(room, user, "m.room.member", {"membership": "join"}, user)
        return room

    def event(
        self, room: Room, sender: str, kind: str, content: dict[str, Any], state_key: str | None = None, **more: Any
    ) -> Event:
        """The next event of a room, signed and not yet in it; `more` puts other values in the place of its fields."""
        event = room.draft(sender, kind, content, state_key, **more)
        if int(room.version) <= 2:
            event.setdefault("event_id", f"${next(_numbers)}-{now_ms()}:{self.name}")
        return signed(event, room.version, self.name, self.key)

    def add(
        self, room: Room, sender: str, kind: str, content: dict[str, Any], state_key: str | None = None, **more: Any
    ) -> str:
        """The same, put into its own room; gives its id."""
        return room.add(self.event(room, sender, kind, content, state_key, **more))

    def message(self, room: Room, sender: str, body: str, **more: Any) -> Event:
        return self.event(room, sender, "m.room.message", {"msgtype": "m.text", "body": body}, **more)

    def sign_again(self, event: Event, version: str) -> Event:
        return cosigned(event, version, self.name, self.key)


class _Serving(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, peer: Peer, authority: Authority) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_any(self) -> None:
                if not peer.listens:
                    # It has stopped, and kept connections end with it.
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = peer.answer(Asked(self, body))
                if answer is None:
                    self.close_connection = True
                    return
                status, said = answer
                data = said if isinstance(said, bytes) else canonical(said)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_any

        super().__init__(("127.0.0.1", peer.port), Handler)
        # The handshake is made by the thread of the connection, with its first read.
        self.socket = authority.serving().wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Who asks may go away in the middle."""

    def server_bind(self) -> None:
        # Without the look-up of a name that http.server makes.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
