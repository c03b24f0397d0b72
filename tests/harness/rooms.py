"""A room as a scripted server keeps it: events, who follows whom, the state by who came last. No rule is checked."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from .events import Event, auth_keys, id_of, reference_hash, unpadded

_REFERENCES = ("prev_events", "auth_events")


class Room:
    """`heads` are the ends of the graph; `before` is the state before each event that was added here."""

    def __init__(self, version: str, room_id: str) -> None:
        self.version, self.id = version, room_id
        self.aliases: list[str] = []
        self.events: dict[str, Event] = {}
        self.state: dict[tuple[str, str], str] = {}
        self.before: dict[str, dict[tuple[str, str], str]] = {}
        self.heads: list[str] = []
        # Off, the state before events is not kept: for rooms of very many members.
        self.keeps_states = True

    @property
    def old_format(self) -> bool:
        return int(self.version) <= 2

    # -- taking events -----------------------------------------------------------------------------

    def know(self, event: Event) -> str:
        """Keeps an event without a place in the graph."""
        event_id = id_of(event, self.version)
        self.events[event_id] = event
        return event_id

    def add(self, event: Event) -> str:
        """Takes an event as the room's newest."""
        event_id = id_of(event, self.version)
        if event_id in self.events:
            return event_id
        self.events[event_id] = event
        if self.keeps_states:
            self.before[event_id] = self.state
        if "state_key" in event:
            if self.keeps_states:
                self.state = dict(self.state)
            self.state[(event["type"], event["state_key"])] = event_id
        known = set(self.ids(event["prev_events"]))
        self.heads = [head for head in self.heads if head not in known] + [event_id]
        return event_id

    def ids(self, references: Iterable[Any]) -> list[str]:
        return [one[0] if self.old_format else one for one in references]

    # -- making events -----------------------------------------------------------------------------

    def references(self, ids: Iterable[str]) -> list[Any]:
        if not self.old_format:
            return list(ids)
        return [[one, {"sha256": self._hash(one)}] for one in ids]

    def _hash(self, event_id: str) -> str:
        event = self.events.get(event_id)
        return unpadded(reference_hash(event, self.version) if event else b"\0" * 32)

    def draft(
        self, sender: str, kind: str, content: dict[str, Any], state_key: str | None = None, **more: Any
    ) -> Event:
        """The next event, without hashes and signatures. `prev` and `auth` are ids; other names replace fields."""
        prev = more.pop("prev", None)
        auth = more.pop("auth", None)
        event: Event = {
            "type": kind,
            "sender": sender,
            "content": content,
            "origin_server_ts": int(time.time() * 1000),
        }
        if not (kind == "m.room.create" and int(self.version) >= 12):
            event["room_id"] = self.id
        if state_key is not None:
            event["state_key"] = state_key
        if auth is None:
            auth = [self.state[key] for key in auth_keys(event, self.version) if key in self.state]
        if prev is None:
            prev = self.heads[-20:]
        event["prev_events"] = self.references(prev)
        event["auth_events"] = self.references(auth)
        event["depth"] = 1 + max((self.events[one]["depth"] for one in prev if one in self.events), default=0)
        event.update(more)
        return event

    # -- answering ---------------------------------------------------------------------------------

    def chain(self, ids: Iterable[str]) -> list[str]:
        """Everything that is behind these by `auth_events`."""
        seen: dict[str, None] = {}
        left = list(ids)
        while left:
            for one in self.ids(self.events[left.pop()]["auth_events"]):
                if one not in seen and one in self.events:
                    seen[one] = None
                    left.append(one)
        return list(seen)

    def state_before(self, event_id: str) -> list[str]:
        return list(self.before.get(event_id, self.state).values())

    def all(self, ids: Iterable[str]) -> list[Event]:
        return [self.events[one] for one in ids]

    def earlier(self, ids: Iterable[str], limit: int, stop: Iterable[str] = ()) -> list[str]:
        """The graph from these backwards, newest first, without what is behind `stop`."""
        ended, seen = set(stop), dict.fromkeys(ids)
        left = list(seen)
        while left and len(seen) < limit:
            at = left.pop(0)
            for one in self.ids(self.events[at]["prev_events"]):
                if one in self.events and one not in seen and one not in ended:
                    seen[one] = None
                    left.append(one)
        return list(seen)[:limit]

    def answer(self, peer: Any, asked: Any) -> tuple[int, Any]:
        """What the Server-Server API asks of a room."""
        words = asked.segments
        match words[3]:
            case "make_join":
                return 200, {"room_version": self.version, "event": self._template(words[5])}
            case "send_join":
                return 200, self._joined(peer, asked)
            case "state":
                ids = self.state_before(asked.query["event_id"][0])
                return 200, {"pdus": self.all(ids), "auth_chain": self.all(self.chain(ids))}
            case "state_ids":
                ids = self.state_before(asked.query["event_id"][0])
                return 200, {"pdu_ids": ids, "auth_chain_ids": self.chain(ids)}
            case "event_auth":
                return 200, {"auth_chain": self.all(self.chain([words[5]]))}
            case "backfill":
                ids = self.earlier(asked.query["v"], int(asked.query["limit"][0]))
                return 200, {"origin": peer.name, "origin_server_ts": 1, "pdus": self.all(ids)}
            case "get_missing_events":
                body = asked.json
                latest = body["latest_events"]
                ids = self.earlier(latest, int(body.get("limit", 10)) + len(latest), body["earliest_events"])
                return 200, {"events": self.all([one for one in reversed(ids) if one not in latest])}
        raise KeyError(words[3])

    def _template(self, user: str) -> Event:
        return self.draft(user, "m.room.member", {"membership": "join"}, user)

    def _joined(self, peer: Any, asked: Any) -> dict[str, Any]:
        event = asked.json
        before = list(self.state.values())
        chain = self.chain([*before, *self.ids(event["auth_events"])])
        # The asker comes back for what is left out here, by this event.
        held = dict(self.state)
        self.before[self.add(event)] = held
        members = asked.query.get("omit_members", ["false"])[0] == "true"
        shown = [one for one in before if not (members and self._left_out(one, event))]
        return {
            "origin": peer.name,
            "event": event,
            "members_omitted": members,
            "servers_in_room": sorted({self.events[one]["sender"].split(":", 1)[1] for one in before}),
            "state": self.all(shown),
            "auth_chain": self.all(self.chain(shown) if members else chain),
        }

    def _left_out(self, one: str, join: Event) -> bool:
        return self.events[one]["type"] == "m.room.member" and one not in self.ids(join["auth_events"])
