"""A server that answers without end, or never: what is asked for in its name is bounded, and nobody else waits."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.client import V3, Client
from harness.events import Event, id_of, signed
from harness.federation import Federation, eventually
from harness.peer import V1, Asked, Peer, now_ms
from harness.wire import path
from hostile import MIB, Siege

pytestmark = [pytest.mark.own_server]

# A join of a server that does not answer must have an end; its client waits so long at most.
ENDS_S = 240.0
DEEP = 3000


@pytest.fixture
def new_peer(federation: Federation) -> Iterator[Callable[[], Peer]]:
    made: list[Peer] = []

    def make() -> Peer:
        made.append(Peer(federation.authority))
        return made[-1]

    yield make
    for peer in made:
        peer.stop()


@pytest.fixture
def siege(federation: Federation, home: Any, new_peer: Callable[[], Peer]) -> Siege:
    return Siege(federation, home, new_peer())


class Abyss:
    """A graph without beginning: each event names one before it, made when it is asked for."""

    def __init__(self, siege: Siege, room: Any) -> None:
        self.siege, self.room = siege, room
        self.depth = 1_000_000
        self.events: dict[str, Event] = {}
        self.made = itertools.count()
        self.top = self._event(self._deeper())

    def _deeper(self) -> str:
        """The id of an event that does not exist."""
        return f"${next(self.made):043d}"

    def _event(self, prev: str) -> Event:
        self.depth -= 1
        room, mallory = self.room, self.siege.mallory
        draft = room.draft(mallory, "m.room.message", {"body": f"{self.depth}"}, prev=[prev], depth=self.depth)
        event = signed(draft, room.version, self.siege.peer.name, self.siege.peer.key)
        self.events[id_of(event, room.version)] = event
        return event

    def page(self, limit: int) -> list[Event]:
        """Events that nobody asked for, each with a predecessor that is missing, too."""
        return [self._event(self._deeper()) for _ in range(limit)]

    def lie(self) -> None:
        """Puts the abyss in the place of the peer's answers."""
        peer, room = self.siege.peer, self.room
        peer.on("POST", f"{V1}/get_missing_events", lambda a: (200, {"events": self.page(int(a.json.get("limit", 10)))}))
        peer.on("GET", f"{V1}/backfill", lambda a: (200, self._pdus(self.page(int(a.query["limit"][0])))))
        peer.on("GET", f"{V1}/event/", lambda _: (200, self._pdus(self.page(1))))
        ids = list(room.state.values())
        peer.on("GET", f"{V1}/state_ids", lambda _: (200, {"pdu_ids": ids, "auth_chain_ids": room.chain(ids)}))

    def _pdus(self, events: list[Event]) -> dict[str, Any]:
        return {"origin": self.siege.peer.name, "origin_server_ts": now_ms(), "pdus": events}


def test_a_past_without_end_is_not_followed_without_end(siege: Siege) -> None:
    room = siege.room()
    honest = list(room.heads)
    before = siege.measured()
    abyss = Abyss(siege, room)
    abyss.lie()
    answer = siege.peer.send(siege.home, [abyss.top])
    assert answer.status == 200, answer
    siege.peer.wait(lambda: siege.peer.count("POST", f"{V1}/get_missing_events"), "the question for what is missing")
    siege.responsive()
    siege.peer.forget_answers()
    room.heads = honest
    siege.still_works(room)
    # It is quiet afterwards: nothing goes on asking.
    eventually(lambda: settled(siege), "an end of questions", 120)
    assert len(siege.peer.asked) < 2000, len(siege.peer.asked)
    siege.bounded(before)


def settled(siege: Siege, for_s: float = 3.0) -> bool:
    """Whether nothing was asked of the peer for a while."""
    asked = len(siege.peer.asked)
    end = time.monotonic() + for_s
    with siege.peer._changed:
        while (left := end - time.monotonic()) > 0:
            siege.peer._changed.wait(left)
            if len(siege.peer.asked) != asked:
                return False
    return True


def test_a_long_gap_is_filled_or_left_and_the_room_goes_on(siege: Siege) -> None:
    """Thousands of honest events of which the home was not told: the newest arrives."""
    room = siege.room()
    for number in range(DEEP):
        siege.peer.add(room, siege.mallory, "m.room.message", {"body": f"{number}"})
    newest = siege.message(room, "newest")
    room.add(newest)
    assert siege.peer.send(siege.home, [newest]).status == 200
    siege.arrives(room, newest)
    siege.still_works(room)


@pytest.mark.parametrize("version", ("10", "12"))
def test_a_chain_of_auth_events_without_end_lets_nothing_in(siege: Siege, version: str) -> None:
    room = siege.room(version)
    before = siege.measured()
    deeper = itertools.count()

    def event(prev: list[str]) -> Event:
        auth = [*room.state.values()][:1] + [f"${next(deeper):043d}"]
        draft = room.draft(siege.mallory, "m.room.topic", {"topic": "deep"}, "", prev=prev, auth=auth)
        return signed(draft, version, siege.peer.name, siege.peer.key)

    def answer(_: Asked) -> tuple[int, Any]:
        return 200, {"auth_chain": [event(room.heads) for _ in range(100)]}

    siege.peer.on("GET", f"{V1}/event_auth", answer)
    siege.peer.on("GET", f"{V1}/event/", lambda _: (200, {"origin": siege.peer.name, "origin_server_ts": 1, "pdus": [event(room.heads)]}))
    honest = list(room.heads)
    bad = [event(honest) for _ in range(5)]
    for one in bad:
        assert siege.peer.send(siege.home, [one]).status == 200
    siege.responsive()
    siege.peer.forget_answers()
    siege.still_works(room)
    eventually(lambda: settled(siege), "an end of questions", 120)
    assert len(siege.peer.asked) < 3000, len(siege.peer.asked)
    siege.unseen(room, [id_of(one, version) for one in bad])
    siege.bounded(before)


def test_a_cycle_in_a_room_whose_events_choose_their_ids_has_an_end(siege: Siege) -> None:
    """Versions 1 and 2: ids are chosen, and so events can name each other."""
    room = siege.room("2")
    name = siege.peer.name
    names = [f"$cycle{n}-{now_ms()}:{name}" for n in range(3)]
    zero = {"sha256": "A" * 43}
    cycle = []
    for at, one in enumerate(names):
        draft = room.draft(siege.mallory, "m.room.message", {"body": "round"}, event_id=one)
        draft["prev_events"] = [[names[(at + 1) % 3], zero]]
        draft["auth_events"] += [[names[(at + 2) % 3], zero]] if at == 0 else []
        cycle.append(signed(draft, "2", name, siege.peer.key))
    by_id = dict(zip(names, cycle, strict=True))
    siege.peer.on("POST", f"{V1}/get_missing_events", lambda _: (200, {"events": cycle}))
    siege.peer.on("GET", f"{V1}/event/", lambda a: (200, {"origin": name, "origin_server_ts": 1, "pdus": [by_id[a.segments[4]]]}))
    siege.peer.on("GET", f"{V1}/event_auth", lambda _: (200, {"auth_chain": cycle}))
    assert siege.peer.send(siege.home, cycle).status == 200
    itself = room.draft(siege.mallory, "m.room.message", {"body": "self"}, event_id=f"$self-{now_ms()}:{name}")
    itself["prev_events"] = [[itself["event_id"], zero]]
    itself["auth_events"].append([itself["event_id"], zero])
    assert siege.peer.send(siege.home, [signed(itself, "2", name, siege.peer.key)]).status == 200
    siege.still_works(room)
    eventually(lambda: settled(siege), "an end of questions", 120)
    siege.unseen(room, [itself["event_id"], names[0]])


@pytest.mark.parametrize("version", ("1", "2"))
def test_an_event_id_that_is_chosen_twice_stays_the_first(siege: Siege, version: str) -> None:
    room = siege.room(version)
    chosen = f"$chosen-{now_ms()}:{siege.peer.name}"
    first = siege.message(room, "first", event_id=chosen)
    second = siege.message(room, "second", event_id=chosen)
    siege.peer.tell(siege.home, first)
    siege.arrives(room, first)
    assert siege.peer.send(siege.home, [second]).status == 200
    room.add(first)
    siege.still_works(room)
    assert siege.alice.event(room.id, chosen)["content"]["body"] == "first"
    texts = [e["content"].get("body") for e in siege.alice.history(room.id, "b") if e["event_id"] == chosen]
    assert texts == ["first"]


@pytest.mark.parametrize("version", ("10", "11", "12"))
def test_two_events_at_the_same_place_are_both_there_and_the_state_is_one(siege: Siege, version: str) -> None:
    """Equivocation: the sender tells two stories; the room does not fall apart."""
    room = siege.room(version)
    siege.lift(room)
    fork = list(room.heads)
    one, two = siege.message(room, "one", prev=fork), siege.message(room, "two", prev=fork)
    topics = [siege.peer.event(room, siege.mallory, "m.room.topic", {"topic": t}, "", prev=fork) for t in ("left", "right")]
    for event in (one, *topics, two):
        siege.peer.tell(siege.home, event)
        room.add(event)
    for event in (one, two):
        siege.arrives(room, event)
    siege.still_works(room)
    assert siege.alice.state(room.id, "m.room.topic")["topic"] in ("left", "right")


@pytest.mark.parametrize("version", ("10", "12"))
def test_a_state_that_is_a_lie_gives_nobody_power(siege: Siege, version: str) -> None:
    """An event after a gap, and a peer that says of the state in the gap what suits it."""
    room = siege.room(version)
    honest = list(room.heads)
    state = dict(room.state)
    levels = siege.alice.state(room.id, "m.room.power_levels")
    users = {**levels.get("users", {}), siege.mallory: 100}
    # Mallory crowns herself: signed, well-formed, not allowed.
    crown = siege.peer.event(room, siege.mallory, "m.room.power_levels", {**levels, "users": users}, "", prev=["$" + "g" * 43], depth=50)
    crowned = room.know(crown)
    room.state = {**state, ("m.room.power_levels", ""): crowned}
    deed = siege.peer.event(room, siege.mallory, "m.room.name", {"name": "usurped"}, "", prev=["$" + "h" * 43], depth=60)
    ban = siege.peer.event(room, siege.mallory, "m.room.member", {"membership": "ban"}, siege.alice.user, prev=["$" + "h" * 43], depth=61)
    lie = list(room.state.values())
    siege.peer.on("POST", f"{V1}/get_missing_events", lambda _: (200, {"events": []}))
    siege.peer.on("GET", f"{V1}/state_ids", lambda _: (200, {"pdu_ids": lie, "auth_chain_ids": room.chain(lie)}))
    siege.peer.on("GET", f"{V1}/state/", lambda _: (200, {"pdus": room.all(lie), "auth_chain": room.all(room.chain(lie))}))
    for event in (deed, ban):
        assert siege.peer.send(siege.home, [event]).status == 200
    siege.responsive()
    room.state, room.heads = state, honest
    siege.still_works(room)
    eventually(lambda: settled(siege), "an end of questions", 120)
    assert siege.alice.state(room.id, "m.room.power_levels")["users"].get(siege.mallory, 0) == 0
    assert siege.alice.membership(room.id, siege.alice.user) == "join"
    assert siege.alice.raw("GET", siege.alice.room_call(room.id, "state", "m.room.name")).status == 404
    siege.unseen(room, [crowned])


# -- answers that do not end ---------------------------------------------------------------------------


class Tap:
    """Answers byte by byte, or not at all, until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def trickle(self, asked: Asked) -> None:
        try:
            asked.handler.send_response(200)
            asked.handler.send_header("Content-Type", "application/json")
            asked.handler.send_header("Content-Length", "1000000")
            asked.handler.end_headers()
            while not self.closed.wait(0.5):
                asked.handler.wfile.write(b" ")
                asked.handler.wfile.flush()
        except OSError:
            pass

    def silence(self, _: Asked) -> None:
        self.closed.wait(ENDS_S * 2)

    def flood(self, asked: Asked) -> None:
        """A body without end, as fast as it is read; 1 GiB at most."""
        try:
            asked.handler.send_response(200)
            asked.handler.send_header("Content-Type", "application/json")
            asked.handler.send_header("Content-Length", str(1 << 30))
            asked.handler.end_headers()
            asked.handler.wfile.write(b'{"event":"')
            for _ in range(1024):
                if self.closed.is_set():
                    return
                asked.handler.wfile.write(b"a" * MIB)
        except OSError:
            pass


def attempts(siege: Siege, peers: list[tuple[Peer, str]]) -> list[threading.Thread]:
    """Users of the home join rooms at these peers, all at once."""
    answers: list[Any] = []

    def one(peer: Peer, room: str) -> None:
        client = Client.register(siege.home)
        target = path(f"{V3}/join", room)
        answers.append(client.raw("POST", target, {}, query={"via": peer.name, "server_name": peer.name}, timeout=ENDS_S))

    threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in peers]
    for thread in threads:
        thread.start()
        thread.answers = answers  # type: ignore[attr-defined]
    return threads


@pytest.mark.timeout(400)
def test_joins_of_servers_that_answer_too_slowly_end_and_hold_up_nobody(siege: Siege, new_peer: Callable[[], Peer]) -> None:
    tap = Tap()
    cases: list[tuple[Peer, str]] = []
    for prefix, how in (
        ("/_matrix/key/v2/server", tap.trickle),
        ("/_matrix/key/v2/server", tap.silence),
        (f"{V1}/make_join", tap.trickle),
        (f"{V1}/make_join", tap.silence),
        (f"{V1}/make_join", tap.flood),
        ("/_matrix/federation/v2/send_join", tap.flood),
        ("/_matrix/federation/v2/send_join", tap.silence),
    ):
        peer = new_peer()
        room = peer.create_room("11", peer.user("m"))
        for method in ("GET", "PUT"):
            peer.on(method, prefix, how)
        cases.append((peer, room.id))
    room = siege.room()
    before = siege.measured()
    try:
        threads = attempts(siege, cases)
        for peer, _ in cases:
            peer.wait(lambda p=peer: p.asked, "the question")
        # While all these hang, the home goes on as if nothing were.
        for _ in range(5):
            siege.responsive()
            siege.still_works(room)
        siege.bounded(before)
        for thread in threads:
            thread.join(ENDS_S)
            assert not thread.is_alive(), "a join that has no end"
        for answer in threads[0].answers:  # type: ignore[attr-defined]
            assert 400 <= answer.status < 600, answer
        siege.bounded(before)
    finally:
        tap.closed.set()


def test_a_server_whose_keys_do_not_come_holds_up_no_other(siege: Siege, new_peer: Callable[[], Peer]) -> None:
    """Its requests wait for its keys; those of others, and clients, do not."""
    tap = Tap()
    mute = new_peer()
    mute.on("GET", "/_matrix/key/v2/server", tap.silence)
    room = siege.room()

    def ask() -> None:
        try:
            mute.request(siege.home, "GET", f"{V1}/query/profile?user_id={siege.alice.user}", timeout=ENDS_S)
        except OSError:
            pass

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(40)]
    try:
        for thread in threads:
            thread.start()
        mute.wait(lambda: mute.asked, "the question for keys")
        for _ in range(5):
            siege.responsive()
            siege.still_works(room)
        # Forty questions at once are one question for the keys.
        assert mute.count("GET", "/_matrix/key/v2/server") <= 4
    finally:
        tap.closed.set()


def test_a_room_whose_state_does_not_come_holds_up_no_other(siege: Siege) -> None:
    tap = Tap()
    stuck, free = siege.room(), siege.room()
    for prefix in (f"{V1}/state_ids", f"{V1}/state/", f"{V1}/event/"):
        siege.peer.on("GET", prefix, tap.silence)
    siege.peer.on("POST", f"{V1}/get_missing_events", tap.trickle)
    try:
        late = siege.message(stuck, "after a gap", prev=["$" + "m" * 43])
        assert siege.peer.send(siege.home, [late]).status == 200
        siege.peer.wait(lambda: siege.peer.count("POST", f"{V1}/get_missing_events"), "the question for what is missing")
        for _ in range(5):
            siege.responsive()
            siege.still_works(free)
    finally:
        tap.closed.set()


def test_requests_that_never_end_hold_up_nobody(siege: Siege) -> None:
    """Slow loris on the listener: connections that send a header now and then."""
    import socket

    room = siege.room()
    held = []
    host, port = siege.home.name.split(":")
    try:
        for _ in range(200):
            raw = socket.create_connection((host, int(port)), timeout=10)
            held.append(siege.federation.authority.trusting().wrap_socket(raw, server_hostname="localhost"))
            held[-1].sendall(b"PUT /_matrix/federation/v1/send/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n")
        for _ in range(3):
            siege.responsive()
            siege.still_works(room)
    finally:
        for one in held:
            one.close()
