"""A small Matrix client with every byte under control. `call` expects success, `raw` looks at anything."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import os
import time
from collections.abc import Callable
from typing import Any

from .wire import Refused, Response, path

V3 = "/_matrix/client/v3"
V1 = "/_matrix/client/v1"
WAIT_S = 20.0
PASSWORD = "correct horse battery staple"

_run = f"{os.getpid():x}{int(time.time()) & 0xFFFFF:x}"
_numbers = itertools.count(1)


def fresh(prefix: str = "u") -> str:
    """A name that no other test of this run, or of an earlier one on a borrowed server, has used."""
    return f"{prefix}{_run}-{next(_numbers)}"


def password_login(user: str, password: str, **more: Any) -> dict[str, Any]:
    """The body of a password login."""
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}


def shared_secret_register(
    server: Any, name: str, password: str, admin: bool = False, secret: str | None = None
) -> Response:
    """`/_synapse/admin/v1/register`: a nonce, then an HMAC-SHA1 over what is asked for."""
    place = "/_synapse/admin/v1/register"
    nonce = server.wire.request("GET", place).json["nonce"]
    parts = [nonce, name, password, "admin" if admin else "notadmin"]
    mac = hmac.new((secret or server.shared_secret).encode(), "\0".join(parts).encode(), hashlib.sha1)
    body = {"nonce": nonce, "username": name, "password": password, "admin": admin, "mac": mac.hexdigest()}
    return server.wire.request("POST", place, json=body)


class Client:
    """One device of one user."""

    def __init__(self, server: Any, session: dict[str, Any] | None = None, password: str = PASSWORD):
        session = session or {}
        self.server, self.password = server, password
        self.user: str = session.get("user_id", "")
        self.token: str | None = session.get("access_token")
        self.device: str = session.get("device_id", "")
        self.since: str | None = None

    # -- session -----------------------------------------------------------------------------------

    @classmethod
    def register(cls, server: Any, name: str | None = None, admin: bool = False) -> Client:
        """A new user, by shared secret."""
        answer = shared_secret_register(server, name or fresh(), PASSWORD, admin)
        if answer.status != 200:
            raise Refused(answer)
        return cls(server, answer.json)

    def login(self, **more: Any) -> Client:
        """Another device of the same user."""
        body = password_login(self.user, self.password, **more)
        return Client(self.server, Client(self.server).call("POST", f"{V3}/login", body), self.password)

    @property
    def localpart(self) -> str:
        return self.user[1:].split(":", 1)[0]

    @property
    def server_name(self) -> str:
        return self.user.split(":", 1)[1]

    # -- requests ----------------------------------------------------------------------------------

    def raw(self, method: str, target: str, json: Any = None, **more: Any) -> Response:
        more.setdefault("token", self.token)
        return self.server.wire.request(method, target, json=json, **more)

    def call(self, method: str, target: str, json: Any = None, **more: Any) -> Any:
        if json is None and method in ("POST", "PUT"):
            json = {}
        answer = self.raw(method, target, json, **more)
        if answer.status != 200:
            raise Refused(answer)
        return answer.json

    def get(self, target: str, **query: Any) -> Any:
        return self.call("GET", target, query=query)

    # -- rooms -------------------------------------------------------------------------------------

    def create_room(self, *invite: Client, **options: Any) -> str:
        if invite:
            options["invite"] = [other.user for other in invite]
        return self.call("POST", f"{V3}/createRoom", options)["room_id"]

    def room_with(self, *others: Client, **options: Any) -> str:
        """A private room that everyone named has joined."""
        room = self.create_room(*others, **options)
        for other in others:
            other.join(room)
        return room

    def room_call(self, room: str, *verb: str) -> str:
        return path(f"{V3}/rooms", room, *verb)

    def join(self, room: str, **body: Any) -> str:
        return self.call("POST", path(f"{V3}/join", room), body)["room_id"]

    def knock(self, room: str, **body: Any) -> str:
        return self.call("POST", path(f"{V3}/knock", room), body)["room_id"]

    def leave(self, room: str, **body: Any) -> None:
        self.call("POST", self.room_call(room, "leave"), body)

    def forget(self, room: str) -> None:
        self.call("POST", self.room_call(room, "forget"))

    def member(self, verb: str, room: str, other: Client, **body: Any) -> Response:
        """invite, kick, ban or unban, whatever the answer."""
        return self.raw("POST", self.room_call(room, verb), {"user_id": other.user, **body})

    def invite(self, room: str, other: Client, **body: Any) -> None:
        answer = self.member("invite", room, other, **body)
        if answer.status != 200:
            raise Refused(answer)

    def send(self, room: str, kind: str, content: dict[str, Any], txn: str | None = None) -> str:
        target = self.room_call(room, "send", kind, txn or fresh("t"))
        return self.call("PUT", target, content)["event_id"]

    def text(self, room: str, body: str, txn: str | None = None, **more: Any) -> str:
        return self.send(room, "m.room.message", {"msgtype": "m.text", "body": body, **more}, txn)

    def in_thread(self, room: str, root: str, body: str) -> str:
        return self.text(room, body, **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})

    def react(self, room: str, event: str, key: str = "👍") -> str:
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        return self.send(room, "m.reaction", {"m.relates_to": relation})

    def edit(self, room: str, event: str, body: str) -> str:
        content = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event}
        return self.text(room, f"* {body}", **{"m.new_content": content, "m.relates_to": relation})

    def redact(self, room: str, event: str, txn: str | None = None, **body: Any) -> str:
        target = self.room_call(room, "redact", event, txn or fresh("t"))
        return self.call("PUT", target, body)["event_id"]

    def set_state(self, room: str, kind: str, content: Any, key: str = "") -> str:
        return self.call("PUT", self.room_call(room, "state", kind, key), content)["event_id"]

    def state(self, room: str, kind: str, key: str = "") -> Any:
        return self.get(self.room_call(room, "state", kind, key))

    def full_state(self, room: str) -> dict[tuple[str, str], Any]:
        return {(e["type"], e["state_key"]): e for e in self.get(self.room_call(room, "state"))}

    def event(self, room: str, event: str) -> Any:
        return self.get(self.room_call(room, "event", event))

    def messages(self, room: str, direction: str = "b", **query: Any) -> Any:
        return self.get(self.room_call(room, "messages"), dir=direction, **query)

    def history(self, room: str, direction: str = "f", page: int = 100) -> list[dict[str, Any]]:
        """Every event that /messages shows, page by page, in the given direction."""
        events: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            answer = self.messages(room, direction, limit=page, **token)
            events += answer["chunk"]
            if "end" not in answer:
                return events
            token = {"from": answer["end"]}

    def membership(self, room: str, user: str) -> str | None:
        """The membership of a user as the state of the room has it."""
        answer = self.raw("GET", self.room_call(room, "state", "m.room.member", user))
        return answer.json["membership"] if answer.status == 200 else None

    def receipt(self, room: str, event: str, kind: str = "m.read", **body: Any) -> None:
        self.call("POST", self.room_call(room, "receipt", kind, event), body)

    # -- account -----------------------------------------------------------------------------------

    def account_data(self, *segments: str) -> str:
        return path(f"{V3}/user", self.user, *segments)

    # -- sync --------------------------------------------------------------------------------------

    def sync(self, timeout: int = 0, filter: Any = None, advance: bool = True, **query: Any) -> Any:
        """One /sync from where the last one ended (`since=None` as argument: an initial one)."""
        if "since" not in query:
            query["since"] = self.since
        if query["since"] is None:
            del query["since"]
        if filter is not None:
            query["filter"] = filter if isinstance(filter, str) else json.dumps(filter)
        answer = self.get(f"{V3}/sync", timeout=timeout, **query)
        if advance:
            self.since = answer["next_batch"]
        return answer

    def sync_until(self, found: Callable[[Any], Any], **query: Any) -> Any:
        """Long-polls until `found` gives something truthy for an answer, and gives that."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            result = found(self.sync(timeout=1000, **query))
            if result:
                return result
        raise AssertionError(f"nothing came within {WAIT_S} s")

    # -- media -------------------------------------------------------------------------------------

    def upload(self, data: bytes, kind: str = "application/octet-stream", **query: Any) -> str:
        answer = self.raw(
            "POST", "/_matrix/media/v3/upload", data=data, headers={"Content-Type": kind}, query=query
        )
        if answer.status != 200:
            raise Refused(answer)
        return answer.json["content_uri"]


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


def joined(answer: dict[str, Any], room: str) -> dict[str, Any]:
    """A room's part of a sync answer under `join`; empty if the room is not in it."""
    return answer.get("rooms", {}).get("join", {}).get(room, {})


def timeline(answer: dict[str, Any], room: str, kind: str = "join") -> list[dict[str, Any]]:
    part = answer.get("rooms", {}).get(kind, {}).get(room, {})
    return part.get("timeline", {}).get("events", [])


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]
