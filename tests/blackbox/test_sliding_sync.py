"""Sliding sync (MSC4186): windows on lists by recency, subscriptions, connections, extensions, in both shapes."""

import socket
import threading

import pytest

from harness.client import V3, fresh, ids
from harness.wire import path

UNSTABLE = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
V4 = "/_matrix/client/v4/sync"
POLL_S = 15.0
SHAPES = ["unstable", "v4"]
both = pytest.mark.parametrize("shape", SHAPES)


class Connection:
    """One connection of a client, in one of the shapes."""

    def __init__(self, client, shape, conn_id="main"):
        self.client, self.shape, self.conn_id, self.pos = client, shape, conn_id, None
        self.lists, self.rooms, self.extensions = {}, {}, {}

    @property
    def v4(self):
        return self.shape == "v4"

    def wanted(self, limit=10, state=(), lazy=False):
        if self.v4:
            elements = []
            for kind, key in state:
                element = {} if kind == "*" else {"type": kind}
                if key != "*":
                    element["state_key"] = self.client.user if key == "$ME" else key
                elements.append(element)
            required = {"include": elements, "lazy_members": lazy}
        else:
            required = [list(pair) for pair in state] + [["m.room.member", "$LAZY"]] * lazy
        return {"timeline_limit": limit, "required_state": required}

    def list(self, name, first, last, filters=None, **wanted):
        ranges = {"range": [first, last]} if self.v4 else {"ranges": [[first, last]]}
        self.lists[name] = {**self.wanted(**wanted), **ranges, "filters": filters or {}}
        return self

    def subscribe(self, room, **wanted):
        self.rooms[room] = self.wanted(**wanted)
        return self

    def enable(self, *names, **more):
        for name in names:
            self.extensions[name] = {"enabled": True, **more}
        return self

    def raw(self, pos=None, timeout=0, read_s=POLL_S, **more):
        body = {
            "conn_id": self.conn_id,
            "lists": self.lists,
            "room_subscriptions": self.rooms,
            "extensions": self.extensions,
            **more,
        }
        at = {"timeout": timeout, **({"pos": pos} if pos else {})}
        if self.v4:
            return self.client.raw("POST", V4, {**body, **at}, timeout=read_s)
        return self.client.raw("POST", UNSTABLE, body, query=at, timeout=read_s)

    def sync(self, timeout=0, advance=True):
        answer = self.raw(self.pos, timeout)
        assert answer.status == 200, answer
        if advance:
            self.pos = answer.json["pos"]
        return answer.json

    def timeline(self, answer, room):
        return told(answer, room).get("timeline_events" if self.v4 else "timeline", [])

    def stripped(self, answer, room):
        return told(answer, room)["stripped_state" if self.v4 else "invite_state"]

    def expanded(self, answer, room):
        return told(answer, room).get("expanded_timeline" if self.v4 else "unstable_expanded_timeline")


def told(answer, room):
    return answer.get("rooms", {}).get(room, {})


def state_of(answer, room):
    state = told(answer, room).get("required_state", [])
    return {(e["type"], e["state_key"]): e for e in state}


def rooms_of(client, number, **options):
    return [client.create_room(name=f"Room {n}", **options) for n in range(number)]


# -- lists ---------------------------------------------------------------------------------------------


def test_versions_say_that_it_is_there(alice):
    features = alice.get("/_matrix/client/versions")["unstable_features"]
    assert features["org.matrix.simplified_msc3575"] is True


@both
def test_a_window_holds_the_most_recent_rooms(alice, shape):
    rooms = rooms_of(alice, 5)
    alice.text(rooms[1], "up")
    connection = Connection(alice, shape).list("all", 0, 1, limit=1, state=[("m.room.name", "")])
    answer = connection.sync()
    assert answer["lists"]["all"]["count"] == 5
    assert set(answer["rooms"]) == {rooms[1], rooms[4]}
    room = told(answer, rooms[1])
    assert room["initial"] is True and room["name"] == "Room 1" and room["limited"] is True
    assert room["joined_count"] == 1 and room["prev_batch"] and room["bump_stamp"]
    assert [e["content"]["body"] for e in connection.timeline(answer, rooms[1])] == ["up"]
    assert set(state_of(answer, rooms[1])) == {("m.room.name", "")}
    # A larger window brings the others, and what is there already not again.
    answer = connection.list("all", 0, 99, limit=1).sync()
    assert {r for r, part in answer["rooms"].items() if part.get("initial")} == set(rooms) - {rooms[1], rooms[4]}


@both
def test_a_room_that_moves_into_the_window_brings_all_it_missed(alice, bob, shape):
    first, second = (alice.room_with(bob) for _ in range(2))
    connection = Connection(bob, shape).list("all", 0, 0, limit=2, state=[("m.room.topic", "")])
    assert set(connection.sync()["rooms"]) == {second}
    alice.text(first, "a")
    alice.text(second, "b")
    answer = connection.sync()
    assert set(answer["rooms"]) == {second}
    alice.set_state(second, "m.room.topic", {"topic": "new"})
    events = [alice.text(second, str(n)) for n in range(3)]
    last = alice.text(first, "c")
    answer = connection.sync()
    assert set(answer["rooms"]) == {first} and told(answer, first)["initial"] is True
    assert ids(connection.timeline(answer, first))[-1] == last
    last = alice.text(second, "d")
    answer = connection.sync()
    part = told(answer, second)
    assert part.get("initial") is not True and part["limited"] is True
    assert ids(connection.timeline(answer, second)) == [events[2], last]
    assert state_of(answer, second)[("m.room.topic", "")]["content"] == {"topic": "new"}
    # The gap can be filled.
    page = bob.messages(second, **{"from": part["prev_batch"], "limit": 2})["chunk"]
    assert ids(page) == [events[1], events[0]]


@both
def test_filters_choose_rooms(alice, bob, shape):
    plain = alice.room_with(bob)
    direct = alice.room_with(bob)
    secret = alice.room_with(bob)
    space = alice.create_room(creation_content={"type": "m.space"})
    alice.set_state(secret, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    alice.set_state(space, "m.space.child", {"via": [alice.server_name]}, plain)
    alice.call("PUT", alice.account_data("account_data", "m.direct"), {bob.user: [direct]})
    alice.call("PUT", path(f"{V3}/user", alice.user, "rooms", plain, "tags", "u.x"), {"order": 0.5})
    invited = bob.create_room(alice)
    is_invited = "is_invited" if shape == "v4" else "is_invite"
    cases = {
        "dm": ({"is_dm": True}, {direct}),
        "no_dm": ({"is_dm": False, is_invited: False}, {plain, secret, space}),
        "encrypted": ({"is_encrypted": True}, {secret}),
        "invited": ({is_invited: True}, {invited}),
        "spaces": ({"room_types": ["m.space"]}, {space}),
        "rooms": ({"room_types": [None], is_invited: False}, {plain, direct, secret}),
        "no_spaces": ({"not_room_types": ["m.space"], is_invited: False}, {plain, direct, secret}),
        "children": ({"spaces": [space]}, {plain}),
        "tagged": ({"tags": ["u.x"]}, {plain}),
        "untagged": ({"not_tags": ["u.x"], is_invited: False}, {direct, secret, space}),
    }
    for name, (filters, rooms) in cases.items():
        answer = Connection(alice, shape, name).list("l", 0, 99, filters, limit=1).sync()
        assert (set(answer["rooms"]), answer["lists"]["l"]["count"]) == (rooms, len(rooms)), name
    # A filter follows what changes.
    connection = Connection(alice, shape, "follow").list("l", 0, 99, {"is_encrypted": False, "is_dm": False}, limit=1)
    assert {plain, space} <= set(connection.sync()["rooms"])
    alice.call("PUT", alice.account_data("account_data", "m.direct"), {})
    assert set(connection.sync()["rooms"]) == {direct}


@both
def test_a_subscription_and_a_list_together_want_the_most(alice, shape):
    room = alice.create_room(topic="T")
    events = [alice.text(room, str(n)) for n in range(5)]
    connection = Connection(alice, shape).list("all", 0, 9, limit=1, state=[("m.room.topic", "")])
    assert ids(connection.timeline(connection.sync(), room)) == events[-1:]
    connection.subscribe(room, limit=4, state=[("m.room.create", "")])
    answer = connection.sync()
    assert ids(connection.timeline(answer, room)) == events[-4:]
    assert connection.expanded(answer, room) is True
    assert set(state_of(answer, room)) == {("m.room.create", "")}
    if shape == "v4":
        assert told(answer, room)["lists"] == ["all"] and told(answer, room)["membership"] == "join"
    assert room not in connection.sync()["rooms"]


@both
def test_rooms_that_one_may_not_see_are_ignored(alice, bob, shape):
    secret = bob.create_room()
    connection = Connection(alice, shape).subscribe(secret).subscribe("!none:x").subscribe("nonsense")
    assert connection.sync()["rooms"] == {}


# -- members -------------------------------------------------------------------------------------------


@both
def test_members_come_as_the_timeline_needs_them(alice, bob, carol, shape):
    room = alice.room_with(bob, carol)
    connection = Connection(carol, shape).list("all", 0, 9, limit=1, state=[("m.room.member", "$ME")], lazy=True)
    alice.text(room, "a")
    members = lambda answer: {key for kind, key in state_of(answer, room) if kind == "m.room.member"}
    assert members(connection.sync()) == {alice.user, carol.user}
    alice.text(room, "b")
    assert members(connection.sync()) == set()
    bob.text(room, "c")
    assert members(connection.sync()) == {bob.user}
    bob.leave(room)
    answer = connection.sync()
    assert state_of(answer, room)[("m.room.member", bob.user)]["content"]["membership"] == "leave"
    assert told(answer, room)["joined_count"] == 2


@both
def test_a_room_without_a_name_has_heroes(alice, bob, shape):
    room = alice.room_with(bob)
    answer = Connection(alice, shape).list("all", 0, 9).sync()
    heroes = told(answer, room)["heroes"]
    assert [hero["user_id"] for hero in heroes] == [bob.user]
    if shape == "v4":
        assert "name" not in told(answer, room)
    else:
        assert told(answer, room)["name"] == heroes[0].get("displayname", bob.user)


@both
def test_an_invite_is_told_with_stripped_state(alice, bob, shape):
    connection = Connection(bob, shape).list("all", 0, 9)
    connection.sync()
    room = alice.create_room(bob, name="Secret plans")
    answer = connection.sync()
    stripped = connection.stripped(answer, room)
    assert {"Secret plans"} == {e["content"]["name"] for e in stripped if e["type"] == "m.room.name"}
    assert connection.timeline(answer, room) == [] and "required_state" not in told(answer, room)
    bob.join(room)
    answer = connection.sync()
    assert told(answer, room)["initial"] is True and connection.timeline(answer, room)


@both
def test_who_is_put_out_is_told_once_and_nothing_later(alice, bob, shape):
    room = alice.room_with(bob)
    connection = Connection(bob, shape).list("all", 0, 9, state=[("m.room.member", "$ME")])
    connection.sync()
    assert alice.member("kick", room, bob, reason="out").status == 200
    alice.text(room, "behind your back")
    answer = connection.sync()
    own = state_of(answer, room)[("m.room.member", bob.user)]
    assert own["content"]["membership"] == "leave"
    assert connection.timeline(answer, room)[-1]["event_id"] == own["event_id"]
    alice.text(room, "more")
    answer = connection.sync()
    assert room not in answer["rooms"] and answer["lists"]["all"]["count"] == 1
    # Another connection hears of it, too; of rooms left by oneself it does not.
    mine = bob.create_room()
    bob.leave(mine)
    answer = Connection(bob, shape, "other").list("all", 0, 9).sync()
    assert set(answer["rooms"]) == {room}
    assert "behind your back" not in str(answer)


# -- connections ---------------------------------------------------------------------------------------


@both
def test_an_answer_that_got_lost_is_given_again(alice, bob, shape):
    room = alice.room_with(bob)
    connection = Connection(bob, shape).list("all", 0, 9)
    connection.sync()
    first = alice.text(room, "x")
    assert ids(connection.timeline(connection.sync(advance=False), room)) == [first]
    second = alice.text(room, "y")
    assert ids(connection.timeline(connection.sync(), room)) == [first, second]
    assert room not in connection.sync()["rooms"]


@both
def test_unknown_positions_are_refused(alice, bob, shape):
    room = alice.create_room()
    connection = Connection(alice, shape).list("all", 0, 9)
    connection.sync()
    old = connection.pos
    alice.text(room, "x")
    connection.sync()
    connection.sync()
    others = Connection(bob, shape).list("all", 0, 9)
    elsewhere = Connection(alice, shape, "elsewhere")
    for asked in [connection.raw(old), connection.raw("nonsense"), others.raw(connection.pos), elsewhere.raw(connection.pos)]:
        assert (asked.status, asked.json["errcode"]) == (400, "M_UNKNOWN_POS")
    assert connection.raw(connection.pos).status == 200


@both
def test_a_position_is_a_token_of_messages(alice, shape):
    room = alice.create_room()
    events = [alice.text(room, str(n)) for n in range(3)]
    connection = Connection(alice, shape).list("all", 0, 9)
    connection.sync()
    alice.text(room, "later")
    page = alice.messages(room, **{"from": connection.pos, "limit": 2})
    assert ids(page["chunk"]) == [events[2], events[1]]


@both
def test_connections_do_not_disturb_each_other(alice, shape):
    room = alice.create_room()
    one, two = (Connection(alice, shape, name).list("all", 0, 9) for name in ("one", "two"))
    one.sync()
    two.sync()
    event = alice.text(room, "x")
    assert ids(one.timeline(one.sync(), room)) == [event]
    assert ids(two.timeline(two.sync(), room)) == [event]


@both
def test_too_much_is_refused(alice, shape):
    connection = Connection(alice, shape)
    for n in range(101):
        connection.list(f"l{n}", 0, 9)
    assert connection.raw().json["errcode"] == "M_INVALID_PARAM"
    connection = Connection(alice, shape)
    for n in range(101):
        connection.subscribe(f"!r{n}:x")
    assert connection.raw().json["errcode"] == "M_INVALID_PARAM"
    assert Connection(alice, shape).list("l", 5, 1).raw().json["errcode"] == "M_INVALID_PARAM"
    assert Connection(alice, shape).raw(lists=[]).json["errcode"] == "M_BAD_JSON"


def test_unknown_presence_is_refused(alice):
    answer = Connection(alice, "v4").raw(set_presence="dancing")
    assert (answer.status, answer.json["errcode"]) == (400, "M_INVALID_PARAM")


# -- waiting -------------------------------------------------------------------------------------------


def poll_while(connection, act):
    results = []

    def poll():
        try:
            results.append(connection.raw(connection.pos, 120_000))
        except socket.timeout:
            pass

    thread = threading.Thread(target=poll)
    thread.start()
    act()
    thread.join()
    assert results, "the long poll slept on"
    assert results[0].status == 200
    connection.pos = results[0].json["pos"]
    return results[0].json


@both
def test_a_message_in_the_window_wakes_the_poll(alice, bob, shape):
    room = alice.room_with(bob)
    connection = Connection(bob, shape).list("all", 0, 9)
    connection.sync()
    events = []
    answer = poll_while(connection, lambda: events.append(alice.text(room, "x")))
    assert ids(connection.timeline(answer, room)) == events
    assert told(answer, room)["num_live"] == 1


@both
def test_what_is_not_looked_at_wakes_nothing(alice, bob, shape):
    room, other = alice.room_with(bob), alice.room_with(bob)
    connection = Connection(bob, shape).subscribe(room)
    connection.sync()
    events = []

    def act():
        alice.text(other, "not for you")
        events.append(alice.text(room, "for you"))

    answer = poll_while(connection, act)
    assert set(answer["rooms"]) == {room}
    assert ids(connection.timeline(answer, room)) == events


@both
def test_an_idle_poll_ends_empty(alice, shape):
    alice.create_room()
    connection = Connection(alice, shape).list("all", 0, 9).enable("e2ee", "to_device")
    connection.sync()
    answer = connection.sync(timeout=300)
    assert answer["rooms"] == {} and answer["lists"]["all"]["count"] == 1


# -- extensions ----------------------------------------------------------------------------------------


@both
def test_account_data_is_told_once(alice, shape):
    room = alice.create_room()
    alice.call("PUT", alice.account_data("account_data", "x.global"), {"n": 1})
    alice.call("PUT", path(f"{V3}/user", alice.user, "rooms", room, "account_data", "x.room"), {"n": 2})
    connection = Connection(alice, shape).list("all", 0, 9).enable("account_data")
    part = connection.sync()["extensions"]["account_data"]
    assert {"x.global", "m.push_rules"} <= {e["type"] for e in part["global"]}
    assert [e["content"] for e in part["rooms"][room] if e["type"] == "x.room"] == [{"n": 2}]
    assert "account_data" not in connection.sync()["extensions"]
    put = lambda: alice.call("PUT", alice.account_data("account_data", "x.global"), {"n": 3})
    part = poll_while(connection, put)["extensions"]["account_data"]
    assert part == {"global": [{"type": "x.global", "content": {"n": 3}}]}


@both
def test_receipts_and_typing_reach_those_who_look(alice, bob, shape):
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    connection = Connection(alice, shape).list("all", 0, 9).enable("receipts", "typing")
    connection.sync()
    answer = poll_while(connection, lambda: bob.receipt(room, event))
    receipt = answer["extensions"]["receipts"]["rooms"][room]
    assert receipt["type"] == "m.receipt" and bob.user in receipt["content"][event]["m.read"]
    target = alice.room_call(room, "typing", bob.user)
    answer = poll_while(connection, lambda: bob.call("PUT", target, {"typing": True, "timeout": 30_000}))
    typing = answer["extensions"]["typing"]["rooms"][room]
    assert typing == {"type": "m.typing", "content": {"user_ids": [bob.user]}}
    assert "typing" not in connection.sync()["extensions"]
    answer = poll_while(connection, lambda: bob.call("PUT", target, {"typing": False}))
    assert answer["extensions"]["typing"]["rooms"][room]["content"] == {"user_ids": []}


@both
def test_an_extension_is_about_the_rooms_in_its_scope(alice, bob, shape):
    """MSC4508: `lists` and `rooms` say which; an empty list is none."""
    room, other = alice.room_with(bob), alice.room_with(bob)
    for r in (room, other):
        bob.call("PUT", alice.room_call(r, "typing", bob.user), {"typing": True, "timeout": 30_000})
    connection = Connection(alice, shape).list("all", 0, 9).subscribe(room)
    connection.enable("typing", lists=[], rooms=[room, "!unknown:x"])
    assert set(connection.sync()["extensions"]["typing"]["rooms"]) == {room}
    connection.enable("typing", lists=["all"], rooms=[])
    assert set(connection.sync()["extensions"]["typing"]["rooms"]) == {other}


@both
def test_unknown_extensions_are_ignored_and_keys_are_always_counted(alice, shape):
    connection = Connection(alice, shape).enable("x.unknown", "e2ee", "to_device")
    extensions = connection.sync()["extensions"]
    assert "x.unknown" not in extensions
    assert extensions["e2ee"]["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert extensions["e2ee"]["device_unused_fallback_key_types"] == []
    assert extensions["to_device"]["next_batch"] and extensions["to_device"]["events"] == []


def test_unread_counts_are_those_of_sync(alice, bob):
    room = alice.room_with(bob)
    connection = Connection(bob, "unstable").list("all", 0, 9)
    connection.sync()
    alice.text(room, "x")
    event = alice.text(room, "y", **{"m.mentions": {"user_ids": [bob.user]}})
    part = told(connection.sync(), room)
    assert (part["notification_count"], part["highlight_count"]) == (2, 1)
    bob.receipt(room, event)
    part = told(connection.sync(), room)
    assert (part["notification_count"], part["highlight_count"]) == (0, 0)


@both
def test_ignored_users_are_not_shown(alice, bob, shape):
    room = alice.room_with(bob)
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), {"ignored_users": {bob.user: {}}})
    connection = Connection(alice, shape).list("all", 0, 9, limit=20)
    connection.sync()
    bob.text(room, "spam")
    invited = bob.create_room(alice, name=fresh("spam"))
    event = alice.text(room, "fine")
    answer = connection.sync()
    assert ids(connection.timeline(answer, room)) == [event]
    assert invited not in answer["rooms"] and answer["lists"]["all"]["count"] == 1
