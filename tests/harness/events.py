"""Events of rooms, made by hand: canonical JSON, hashes, signatures, redaction (spec: Appendices, "Canonical JSON",
"Signing JSON"; Server-Server API, "Signing Events"; room versions 1 to 12).

Nothing is checked: a hostile server makes with it what it likes.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Event = dict[str, Any]


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def unpadded(data: bytes, url: bool = False) -> str:
    encoded = base64.urlsafe_b64encode(data) if url else base64.b64encode(data)
    return encoded.decode().rstrip("=")


class Key:
    """An ed25519 signing key and its id."""

    def __init__(self, name: str = "a_key", seed: bytes | None = None) -> None:
        self.id = f"ed25519:{name}"
        self._private = Ed25519PrivateKey.from_private_bytes(seed or os.urandom(32))
        self.public = unpadded(self._private.public_key().public_bytes_raw())

    def signature(self, value: dict[str, Any]) -> str:
        bare = {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
        return unpadded(self._private.sign(canonical(bare)))

    def sign(self, value: dict[str, Any], entity: str) -> dict[str, Any]:
        """Adds this key's signature to a JSON object, for `entity`."""
        signature = self.signature(value)
        value.setdefault("signatures", {}).setdefault(entity, {})[self.id] = signature
        return value


def number(version: str) -> int:
    return int(version)


_TOP = {
    "event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures",
    "depth", "prev_events", "auth_events", "origin_server_ts",
}  # fmt: skip
_LEVELS = {
    "ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default",
}  # fmt: skip


def redacted(event: Event, version: str) -> Event:
    """What is left of an event (the room version's "Redactions")."""
    at = number(version)
    top = _TOP | (set() if at >= 11 else {"origin", "membership", "prev_state"})
    kind, content = event.get("type"), event.get("content", {})
    keep: set[str] = set()
    if kind == "m.room.member":
        keep = {"membership"} | ({"join_authorised_via_users_server"} if at >= 9 else set())
    elif kind == "m.room.create":
        keep = set(content) if at >= 11 else {"creator"}
    elif kind == "m.room.join_rules":
        keep = {"join_rule"} | ({"allow"} if at >= 8 else set())
    elif kind == "m.room.power_levels":
        keep = _LEVELS | ({"invite"} if at >= 11 else set())
    elif kind == "m.room.history_visibility":
        keep = {"history_visibility"}
    elif kind == "m.room.aliases" and at < 6:
        keep = {"aliases"}
    elif kind == "m.room.redaction" and at >= 11:
        keep = {"redacts"}
    bare = {k: v for k, v in content.items() if k in keep}
    if kind == "m.room.member" and at >= 11 and "signed" in content.get("third_party_invite", {}):
        bare["third_party_invite"] = {"signed": content["third_party_invite"]["signed"]}
    return {**{k: v for k, v in event.items() if k in top}, "content": bare}


def content_hash(event: Event) -> str:
    bare = {k: v for k, v in event.items() if k not in ("unsigned", "signatures", "hashes")}
    return unpadded(hashlib.sha256(canonical(bare)).digest())


def reference_hash(event: Event, version: str) -> bytes:
    bare = {k: v for k, v in redacted(event, version).items() if k not in ("signatures", "unsigned")}
    return hashlib.sha256(canonical(bare)).digest()


def id_of(event: Event, version: str) -> str:
    """The event's id: its own in versions 1 and 2, its reference hash in later ones."""
    if number(version) <= 2:
        return event["event_id"]
    return "$" + unpadded(reference_hash(event, version), url=number(version) >= 4)


def room_of(event: Event, version: str) -> str:
    """The room of an event; in version 12 a create event's own id with another sign."""
    if event["type"] == "m.room.create" and number(version) >= 12:
        return "!" + id_of(event, version)[1:]
    return event["room_id"]


def signed(event: Event, version: str, entity: str, key: Key) -> Event:
    """The event with its content hash and a signature; what was there is replaced."""
    made = copy.deepcopy(event)
    made["hashes"] = {"sha256": content_hash(made)}
    return cosigned(made, version, entity, key)


def cosigned(event: Event, version: str, entity: str, key: Key) -> Event:
    """The event with one more signature, its hash left alone."""
    made = copy.deepcopy(event)
    made.setdefault("signatures", {}).setdefault(entity, {})[key.id] = key.signature(redacted(made, version))
    return made


def auth_keys(event: Event, version: str) -> list[tuple[str, str]]:
    """Which state an event is judged by (Server-Server API, "Auth events selection")."""
    if event["type"] == "m.room.create":
        return []
    keys = [] if number(version) >= 12 else [("m.room.create", "")]
    keys += [("m.room.power_levels", ""), ("m.room.member", event["sender"])]
    if event["type"] == "m.room.member":
        membership, target = event["content"].get("membership"), event["state_key"]
        if target != event["sender"]:
            keys.append(("m.room.member", target))
        if membership in ("join", "invite", "knock"):
            keys.append(("m.room.join_rules", ""))
        via = event["content"].get("join_authorised_via_users_server")
        if via is not None:
            keys.append(("m.room.member", via))
    return keys
