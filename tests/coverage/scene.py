"""The scene in which every operation has something to answer: users, rooms, an application service, a mailbox."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harness.client import PASSWORD, V3, Client, fresh

from .stubs import Mailbox, World

AS_TOKEN, HS_TOKEN = "coverage-as-token", "coverage-hs-token"


@dataclasses.dataclass
class Ask:
    """A valid minimal request."""

    token: str | None = None
    args: dict[str, str] = dataclasses.field(default_factory=dict)
    query: dict[str, Any] = dataclasses.field(default_factory=dict)
    body: Any = None
    data: bytes | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    status: int = 200


def registration(world: World) -> str:
    """The application service's registration file (JSON is YAML)."""
    own = [{"exclusive": True, "regex": "@_cov_.*"}]
    aliases = [{"exclusive": True, "regex": "#_cov_.*"}]
    return json.dumps({
        "id": "coverage", "url": world.url, "as_token": AS_TOKEN, "hs_token": HS_TOKEN, "sender_localpart": "_cov_bot",
        "rate_limited": False, "protocols": ["cov"], "namespaces": {"users": own, "aliases": aliases, "rooms": []},
    })  # fmt: skip


class Scene:
    def __init__(self, server: Any, world: World, mailbox: Mailbox) -> None:
        self.server, self.world, self.mailbox = server, world, mailbox
        self.admin = Client.register(server, admin=True)
        self.alice, self.bob = self.user(), self.user()
        self.room = self.alice.room_with(self.bob, name="Coverage", topic="of everything")
        self.event = self.alice.text(self.room, "a needle in the haystack")
        self.root = self.alice.text(self.room, "root")
        self.alice.in_thread(self.room, self.root, "reply")
        self.bob.edit(self.room, self.bob.text(self.room, "first"), "second")
        self.alice.react(self.room, self.event)
        self.public = self.alice.create_room(preset="public_chat", visibility="public", name="Open")
        readable = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
        self.readable = self.alice.create_room(preset="public_chat", initial_state=[readable])
        self.alice.text(self.readable, "for everyone")
        self.space = self.alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
        self.alice.set_state(self.space, "m.space.child", {"via": [self.alice.server_name]}, self.public)
        self.picture = self.alice.upload(_PIXEL, "image/png")
        self.alice.call("PUT", self.alice.account_data("account_data", "org.example.x"), {"a": 1})
        self.alice.call("PUT", self.alice.account_data("rooms", self.room, "account_data", "org.example.x"), {"a": 1})
        self.alice.call("PUT", self.alice.account_data("rooms", self.room, "tags", "u.work"), {"order": 0.5})
        self.alice.call("PUT", f"{V3}/profile/{self.alice.user}/displayname", {"displayname": "Alice"})
        self.filter = self.alice.call("POST", self.alice.account_data("filter"), {})["filter_id"]
        self.rule("kept")

    def user(self) -> Client:
        return Client.register(self.server)

    def media(self) -> dict[str, str]:
        server_name, media_id = self.picture.removeprefix("mxc://").split("/")
        return {"serverName": server_name, "mediaId": media_id}

    def rule(self, name: str) -> str:
        content = {"actions": ["notify"], "pattern": "cake"}
        self.alice.call("PUT", f"{V3}/pushrules/global/content/{name}", content)
        return name

    def alias(self, room: str | None = None) -> str:
        alias = f"#{fresh('cov')}:{self.alice.server_name}"
        self.alice.call("PUT", f"{V3}/directory/room/{alias.replace('#', '%23')}", {"room_id": room or self.public})
        return alias

    def new_room(self, *members: Client, **options: Any) -> str:
        return self.alice.room_with(*members, **options)

    def proof(self, user: Client) -> dict[str, Any]:
        """User-interactive authentication in one step."""
        identifier = {"type": "m.id.user", "user": user.user}
        return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}

    def new_address(self) -> str:
        return f"{fresh('mail')}@example.org"

    def token_request(self, address: str) -> dict[str, Any]:
        return {"client_secret": fresh("secret"), "email": address, "send_attempt": 1}

    def validated(self, user: Client, address: str) -> dict[str, str]:
        """An address whose mail was opened, and whose link was confirmed."""
        request = self.token_request(address)
        answer = user.call("POST", f"{V3}/account/3pid/email/requestToken", request)
        link = urlsplit(self.mailbox.link_to(address))
        assert self.server.wire.request("GET", f"{link.path}?{link.query}").status == 200
        user.call("POST", link.path, dict(parse_qsl(link.query)))
        return {"sid": answer["sid"], "client_secret": request["client_secret"]}

    def with_address(self) -> tuple[Client, str]:
        user, address = self.user(), self.new_address()
        proven = self.validated(user, address)
        user.call("POST", f"{V3}/account/3pid/add", {**proven, "auth": self.proof(user)})
        return user, address

    def refresh_token(self) -> str:
        user = self.user()
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user.user},
                "password": PASSWORD, "refresh_token": True}  # fmt: skip
        return user.call("POST", f"{V3}/login", body)["refresh_token"]

    def reserved(self) -> dict[str, str]:
        uri = self.alice.call("POST", "/_matrix/media/v1/create")["content_uri"]
        server_name, media_id = uri.removeprefix("mxc://").split("/")
        return {"serverName": server_name, "mediaId": media_id}

    def peek_token(self) -> str:
        return self.alice.get(f"{V3}/sync")["next_batch"]

    def registration_token(self) -> str:
        return self.server.registration_token


_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe"
    "a735819d0000000049454e44ae426082"
)
