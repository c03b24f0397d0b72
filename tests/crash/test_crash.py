"""kill -9 under load: nothing acknowledged is lost, doubled or moved, and no position is used twice.

`ALTHING_TEST_KILLS` says how often the server is killed (default 50); `ALTHING_TEST_SEED` repeats a run.
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import random
import re
import socket
import threading
import time
from typing import Any

import pytest

from harness.client import PASSWORD, V1, V3, Client, ids, password_login
from harness.wire import Wire, path

KILLS = int(os.environ.get("ALTHING_TEST_KILLS", "50"))
SEED = int(os.environ.get("ALTHING_TEST_SEED", str(random.randrange(1 << 32))))
SENDERS, ROOMS = 6, 3
# How long the load runs before each kill: from the first requests on to a settled stream of them.
LOAD_S = (0.02, 0.8)
BROKEN = (OSError, http.client.HTTPException)


@dataclasses.dataclass
class Sent:
    """One send: its transaction id, its body, and the event id once it was acknowledged."""

    room: str
    txn: str
    body: str
    event: str | None = None


class Sender(threading.Thread):
    """Sends into one room, one message after the other, until the connection breaks."""

    def __init__(self, client: Client, room: str, number: int, round_: int) -> None:
        super().__init__(daemon=True)
        self.client, self.room, self.number, self.round = client, room, number, round_
        # No retries behind our back: what is not acknowledged must be known not to be.
        self.wire = Wire(client.server.base_url, reconnect=False)
        self.sent: list[Sent] = []
        self.trouble: Any = None

    def run(self) -> None:
        for count in range(100_000):
            name = f"{self.number}-{self.round}-{count}"
            sent = Sent(self.room, f"t{name}", f"message {name}")
            self.sent.append(sent)
            try:
                answer = self._put(sent)
            except BROKEN:
                return
            if answer.status != 200:
                # A dying server may say 503, and then it has not acknowledged; anything else is wrong.
                if answer.status != 503:
                    self.trouble = answer
                return
            sent.event = answer.json["event_id"]

    def _put(self, sent: Sent) -> Any:
        target = self.client.room_call(sent.room, "send", "m.room.message", sent.txn)
        content = {"msgtype": "m.text", "body": sent.body}
        return self.wire.request("PUT", target, token=self.client.token, json=content, timeout=30)


def position(token: str) -> int:
    """The number of a sync token `s<number>`, with or without an epoch behind it."""
    found = re.fullmatch(r"s(\d+)(_.*)?", token)
    assert found, f"a token that is no position: {token}"
    return int(found[1])


class Follower(threading.Thread):
    """Syncs all the time; notes every event and every position it was given."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.wire = Wire(client.server.base_url, reconnect=False)
        self.seen: dict[str, list[str]] = {}
        self.ended = False
        self.tokens: list[str] = []
        self.trouble: Any = None

    def run(self) -> None:
        filter_ = '{"room":{"timeline":{"limit":100}}}'
        while not self.ended:
            query: dict[str, Any] = {"timeout": 500, "filter": filter_}
            if self.client.since:
                query["since"] = self.client.since
            try:
                answer = self.wire.request(
                    "GET", f"{V3}/sync", token=self.client.token, query=query, timeout=30
                )
            except BROKEN:
                return
            if answer.status != 200:
                self.trouble = None if answer.status == 503 else answer
                return
            body = answer.json
            for room, part in body.get("rooms", {}).get("join", {}).items():
                if part["timeline"].get("limited") and room in self.seen:
                    self.trouble = f"a gap in {room}"
                self.seen.setdefault(room, []).extend(ids(part["timeline"]["events"]))
            self.client.since = body["next_batch"]
            self.tokens.append(body["next_batch"])


class Ordeal:
    """The server, its users and rooms, and everything that was ever acknowledged."""

    def __init__(self, home: Any) -> None:
        self.home = home
        self.dice = random.Random(SEED)
        self.users = [Client.register(home) for _ in range(SENDERS)]
        self.reader = Client.register(home)
        first = self.users[0]
        options = {"preset": "public_chat"}
        self.rooms = [first.room_with(*self.users[1:], self.reader, **options) for _ in range(ROOMS)]
        self.acknowledged: dict[tuple[int, str], list[Sent]] = {}
        self.bodies: dict[str, str] = {}
        self.states = {room: self.state(room) for room in self.rooms}
        self.seen: dict[str, list[str]] = {room: [] for room in self.rooms}
        self.position = 0
        self.known = {room: ids(self.reader.history(room)) for room in self.rooms}
        self.checked: dict[str, int] = {room: len(self.known[room]) for room in self.rooms}
        self.counted = 0

    def state(self, room: str) -> dict[tuple[str, str], str]:
        return {key: event["event_id"] for key, event in self.reader.full_state(room).items()}

    # -- one round ---------------------------------------------------------------------------------

    def load_and_kill(self, round_: int) -> list[Sent]:
        """Load, then the kill; gives the sends that were under way."""
        senders = [
            Sender(client, self.rooms[number % ROOMS], number, round_)
            for number, client in enumerate(self.users)
        ]
        follower = Follower(self.reader)
        for thread in (*senders, follower):
            thread.start()
        time.sleep(self.dice.uniform(*LOAD_S))
        self.home.kill9()
        follower.ended = True
        for thread in (*senders, follower):
            thread.join(40)
        assert [s.trouble for s in senders if s.trouble] == []
        assert follower.trouble is None, follower.trouble
        for room, events in follower.seen.items():
            self.seen[room] += events
        self.check_tokens(follower.tokens)
        pending = []
        for sender in senders:
            for sent in sender.sent:
                if sent.event is None:
                    pending.append((sender.number, sent))
                else:
                    self.note(sender.number, sent)
        self.home.start()
        for number, sent in pending:
            self.replay(number, sent)
        return [sent for _, sent in pending]

    def note(self, number: int, sent: Sent) -> None:
        assert sent.event is not None
        self.acknowledged.setdefault((number, sent.room), []).append(sent)
        assert self.bodies.setdefault(sent.event, sent.body) == sent.body
        self.counted += 1

    def replay(self, number: int, sent: Sent) -> None:
        """The client tries its unacknowledged send again, twice: one event, whether the first went in or not."""
        client = self.users[number]
        first, second = (client.text(sent.room, sent.body, sent.txn) for _ in range(2))
        assert first == second
        sent.event = first
        self.note(number, sent)

    def check_tokens(self, tokens: list[str]) -> None:
        if self.home.engine == "external":
            return
        for token in tokens:
            assert position(token) >= self.position, (token, self.position)
            self.position = position(token)

    # -- what must hold ----------------------------------------------------------------------------

    def check(self) -> None:
        """After a restart: history, order, single events, state, sync."""
        for room in self.rooms:
            history = self.reader.history(room, page=1000)
            order = ids(history)
            assert len(set(order)) == len(order), "an event twice"
            # What was once read stays, at its place.
            assert order[: len(self.known[room])] == self.known[room]
            self.known[room] = order
            place = {event: at for at, event in enumerate(order)}
            bodies = {e["event_id"]: e["content"]["body"] for e in history if e["type"] == "m.room.message"}
            for (_, sent_room), all_sent in self.acknowledged.items():
                if sent_room == room:
                    places = [place.get(sent.event) for sent in all_sent]
                    assert None not in places, "an acknowledged event is lost"
                    assert places == sorted(places), "the order of a sender changed"
                    assert [bodies[sent.event] for sent in all_sent] == [sent.body for sent in all_sent]
            acknowledged = {s.event for (_, r), all_sent in self.acknowledged.items() if r == room for s in all_sent}
            # Every message is acknowledged by now: the pending ones were sent again.
            assert set(bodies) == acknowledged, "an event that nobody sent"
            assert self.state(room) == self.states[room]
            for event in order[self.checked[room] :]:
                assert self.reader.event(room, event)["event_id"] == event
            self.checked[room] = len(order)
        self.check_sync()

    def check_sync(self) -> None:
        """The follower goes on from its old token and then has every event once, in order."""
        filter_ = {"room": {"timeline": {"limit": 100}}}
        while True:
            before = self.reader.since
            answer = self.reader.sync(filter=filter_)
            self.check_tokens([answer["next_batch"]])
            for room, part in answer.get("rooms", {}).get("join", {}).items():
                events = ids(part["timeline"]["events"])
                if part["timeline"].get("limited") and self.seen[room]:
                    events = self.gap(room, part["timeline"]["prev_batch"], set(self.seen[room])) + events
                self.seen[room] += events
            if not answer.get("rooms", {}).get("join") or answer["next_batch"] == before:
                break
        for room in self.rooms:
            order = self.known[room]
            seen = self.seen[room]
            assert len(set(seen)) == len(seen), "an event twice over /sync"
            assert seen == order[len(order) - len(seen) :], "the sync's order is not the history's"

    def gap(self, room: str, start: str, known: set[str]) -> list[str]:
        found: list[str] = []
        while True:
            page = self.reader.messages(room, "b", **{"from": start, "limit": 500})
            for event in ids(page["chunk"]):
                if event in known:
                    return found[::-1]
                found.append(event)
            if "end" not in page:
                return found[::-1]
            start = page["end"]

    def check_the_rest(self) -> None:
        """Sessions, logins and new rooms still work."""
        for client in self.users:
            assert client.get(f"{V3}/account/whoami")["device_id"] == client.device
        fresh = Client(self.home).call("POST", f"{V3}/login", password_login(self.users[0].user, PASSWORD))
        assert fresh["user_id"] == self.users[0].user
        room = self.users[0].room_with(self.users[1])
        root = self.users[0].text(room, "root")
        reply = self.users[1].in_thread(room, root, "reply")
        related = self.reader.raw("GET", path(f"{V1}/rooms", room, "relations", root))
        assert related.status in (403, 404), related
        chunk = self.users[0].get(path(f"{V1}/rooms", room, "relations", root))["chunk"]
        assert ids(chunk) == [reply]


@pytest.mark.timeout(1800)
def test_nothing_acknowledged_is_lost_to_kill_9(make_server):
    home = make_server()
    print(f"ALTHING_TEST_SEED={SEED} kills={KILLS}")
    ordeal = Ordeal(home)
    ordeal.reader.since = None
    ordeal.check_sync()
    for round_ in range(KILLS):
        ordeal.load_and_kill(round_)
        ordeal.check()
    ordeal.check_the_rest()
    print(f"{ordeal.counted} acknowledged sends over {KILLS} kills, position {ordeal.position}")
    assert ordeal.counted >= KILLS, "hardly anything was sent: the load was no load"


def test_a_killed_server_starts_again_at_once_and_empty(make_server):
    """Killed before it ever did anything, and killed right after it listens."""
    home = make_server()
    for _ in range(5):
        home.kill9()
        home.start()
    alice = Client.register(home)
    assert alice.create_room()
    with socket.create_connection((home.wire.host, home.wire.port), timeout=5):
        pass
