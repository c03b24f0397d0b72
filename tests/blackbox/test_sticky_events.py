"""Sticky events (MSC4354): every member learns of them while they last, whatever the timeline holds."""

import pytest

from harness.client import fresh, ids, joined, timeline

DURATION = "org.matrix.msc4354.sticky_duration_ms"
HOUR = 3_600_000


def stick(client, room, content=None, duration=HOUR, **query):
    target = client.room_call(room, "send", "org.example.sticky", fresh("t"))
    return client.raw("PUT", target, content or {}, query={DURATION: duration, **query})


def sticky(answer, room):
    return joined(answer, room).get("msc4354_sticky", {}).get("events", [])


def few(limit=1):
    return {"room": {"timeline": {"limit": limit}}}


@pytest.fixture
def room(alice, bob):
    room = alice.room_with(bob)
    alice.sync(), bob.sync()
    return room


def test_the_flag_is_told(alice):
    assert alice.get("/_matrix/client/versions")["unstable_features"]["org.matrix.msc4354"]


def test_a_sticky_event_says_how_long_it_lasts(alice, bob, room):
    stick(alice, room, {"n": 1}, 600_000)
    [event] = timeline(bob.sync(), room)
    assert event["msc4354_sticky"] == {"duration_ms": 600_000}
    assert 0 < event["unsigned"]["msc4354_sticky_duration_ttl_ms"] <= 600_000


def test_what_a_gap_left_out_is_told_in_its_own_section_once(alice, bob, room):
    event = stick(alice, room, {"n": 1}).json["event_id"]
    for n in range(3):
        alice.text(room, str(n))
    answer = bob.sync(filter=few())
    assert event not in ids(timeline(answer, room))
    [told] = sticky(answer, room)
    assert told["event_id"] == event and told["content"] == {"n": 1}
    assert told["unsigned"]["msc4354_sticky_duration_ttl_ms"] > 0
    alice.text(room, "more")
    assert sticky(bob.sync(), room) == []


def test_what_is_in_the_timeline_is_not_told_twice(alice, bob, room):
    event = stick(alice, room).json["event_id"]
    answer = bob.sync()
    assert ids(timeline(answer, room)) == [event] and sticky(answer, room) == []


def test_a_new_member_learns_of_all_that_is_sticky(alice, carol, room):
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    event = stick(alice, room, {"n": 1}).json["event_id"]
    stick(alice, room, {"n": 2}, 0)
    carol.sync()
    alice.invite(room, carol)
    carol.join(room)
    assert ids(sticky(carol.sync(), room)) == [event]


def test_many_are_told_in_portions(alice, bob, room):
    events = [stick(alice, room, {"n": n}).json["event_id"] for n in range(150)]
    told, syncs = [], 0
    while len(told) < 149:
        part = ids(sticky(bob.sync(filter=few()), room))
        assert 0 < len(part) <= 100
        told, syncs = told + part, syncs + 1
    assert told == events[:-1] or told == events and syncs == 2


def test_a_redacted_event_is_no_longer_sticky(alice, bob, room):
    event = stick(alice, room, {"n": 1}).json["event_id"]
    alice.redact(room, event)
    alice.text(room, "later")
    assert sticky(bob.sync(filter=few()), room) == []
    assert "msc4354_sticky" not in bob.event(room, event)


def test_a_state_event_may_be_sticky(alice, bob, room):
    target = alice.room_call(room, "state", "org.example.call", "k")
    alice.call("PUT", target, {"n": 1}, query={DURATION: HOUR})
    [event] = timeline(bob.sync(), room)
    assert event["msc4354_sticky"] == {"duration_ms": HOUR}


def test_a_delayed_event_is_sticky_when_it_is_sent(alice, bob, room):
    stick(alice, room, {"n": 1}, HOUR, **{"org.matrix.msc4140.delay": 200})
    [event] = bob.sync_until(lambda answer: timeline(answer, room))
    assert event["msc4354_sticky"] == {"duration_ms": HOUR}


@pytest.mark.parametrize("duration", [HOUR + 1, -1, "long", "1.5"])
def test_a_duration_is_at_most_an_hour(alice, room, duration):
    answer = stick(alice, room, duration=duration)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
