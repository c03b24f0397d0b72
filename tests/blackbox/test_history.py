"""Reading: /messages, /context, /event, and who may see what ("Room history visibility")."""

import json

import pytest

from harness.client import fresh, ids, of_type, timeline

VISIBILITIES = ["world_readable", "shared", "invited", "joined"]


def seen_by(visibility):
    """createRoom options."""
    content = {"history_visibility": visibility}
    return {"initial_state": [{"type": "m.room.history_visibility", "state_key": "", "content": content}]}


def texts(events):
    return [e["content"]["body"] for e in of_type(events, "m.room.message")]


def not_found(answer):
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


@pytest.fixture
def told(alice):
    """A room with thirty numbered messages."""
    room = alice.create_room()
    return room, [alice.text(room, str(n)) for n in range(30)]


# -- /messages -----------------------------------------------------------------------------------------


def test_messages_page_both_ways_and_agree(alice, told):
    room, sent = told
    for page in (1, 3, 7, 100):
        forward, backward = alice.history(room, "f", page), alice.history(room, "b", page)
        assert ids(forward) == ids(backward)[::-1]
        assert ids(forward)[-30:] == sent
        assert len(set(ids(forward))) == len(forward)


def test_messages_have_no_end_at_the_end(alice, told):
    room, _ = told
    answer = alice.messages(room, "b", limit=1000)
    assert "end" not in answer or alice.messages(room, "b", **{"from": answer["end"]})["chunk"] == []
    assert alice.history(room, "b")[-1]["type"] == "m.room.create"


def test_messages_default_limit_is_10(alice, told):
    room, sent = told
    assert ids(alice.messages(room, "b")["chunk"]) == sent[::-1][:10]


def test_messages_continue_from_sync_tokens(alice, told):
    """Tokens of /sync and /messages may be exchanged: `prev_batch` backwards, `next_batch` forwards."""
    room, sent = told
    part = alice.sync(filter={"room": {"timeline": {"limit": 5}}})["rooms"]["join"][room]["timeline"]
    assert part["limited"] is True
    assert ids(part["events"]) == sent[-5:]
    older = alice.messages(room, "b", **{"from": part["prev_batch"], "limit": 10})
    assert ids(older["chunk"]) == sent[-15:-5][::-1]
    more = [alice.text(room, f"more {n}") for n in range(3)]
    newer = alice.messages(room, "f", **{"from": alice.since, "limit": 10})
    assert ids(newer["chunk"]) == more


def test_messages_stop_at_to(alice, told):
    room, sent = told
    middle = alice.messages(room, "b", limit=10)["end"]
    far = alice.messages(room, "b", limit=20)["end"]
    answer = alice.messages(room, "b", **{"from": middle, "to": far, "limit": 100})
    assert ids(answer["chunk"]) == sent[::-1][10:20]


@pytest.mark.parametrize(
    ("only", "count"),
    [
        ({"types": ["m.room.message"]}, 4),
        ({"types": ["m.room.*"], "not_types": ["m.room.message"], "not_senders": ["@nobody:x"]}, None),
        ({"types": []}, 0),
        ({"contains_url": True}, 1),
        ({"not_types": ["*"]}, 0),
    ],
)
def test_messages_can_be_filtered(alice, bob, only, count):
    room = alice.room_with(bob)
    for client in (alice, bob):
        client.text(room, "one")
    alice.send(room, "m.room.message", {"msgtype": "m.image", "body": "i", "url": "mxc://x/y"})
    bob.text(room, "two")
    chunk = alice.messages(room, "b", limit=100, filter=json.dumps(only))["chunk"]
    if count is not None:
        assert len(chunk) == count
    assert "m.room.message" not in {e["type"] for e in chunk} or "not_types" not in only
    by_bob = alice.messages(room, "b", limit=100, filter=json.dumps({"senders": [bob.user]}))["chunk"]
    assert {e["sender"] for e in by_bob} == {bob.user}
    assert texts(by_bob) == ["two", "one"]


def test_messages_bring_members_when_loaded_lazily(alice, bob, carol):
    room = alice.room_with(bob, carol)
    bob.text(room, "hello")
    answer = alice.messages(room, "b", limit=1, filter='{"lazy_load_members":true}')
    assert [e["state_key"] for e in of_type(answer["state"], "m.room.member")] == [bob.user]


def test_messages_need_a_direction_and_a_sane_token(alice):
    room = alice.create_room()
    target = alice.room_call(room, "messages")
    # Synapse 1.163 takes a missing `dir` (required in the spec) for `f`.
    for query in ({}, {"dir": "x"}, {"dir": "b", "from": "nonsense"}, {"dir": "b", "limit": "many"}):
        answer = alice.raw("GET", target, query=query)
        assert answer.status == 400, answer


def test_events_are_in_client_format(alice, told):
    """ClientEvent: the federation's fields never show."""
    room, sent = told
    for event in [*alice.history(room), alice.event(room, sent[0])]:
        assert event["room_id"] == room
        assert not {"auth_events", "prev_events", "hashes", "signatures", "depth"} & set(event)
        assert isinstance(event["unsigned"]["age"], int)


# -- /event and /context -------------------------------------------------------------------------------


def test_context_is_around_the_event(alice, told):
    room, sent = told
    answer = alice.get(alice.room_call(room, "context", sent[15]), limit=6)
    assert answer["event"]["event_id"] == sent[15]
    assert ids(answer["events_before"]) == [sent[14], sent[13], sent[12]]
    assert ids(answer["events_after"]) == [sent[16], sent[17], sent[18]]
    older = alice.messages(room, "b", **{"from": answer["start"], "limit": 2})
    newer = alice.messages(room, "f", **{"from": answer["end"], "limit": 2})
    assert ids(older["chunk"]) == [sent[11], sent[10]]
    assert ids(newer["chunk"]) == [sent[19], sent[20]]


def test_context_gives_the_state_at_its_end(alice):
    room = alice.create_room(name="before")
    event = alice.text(room, "x")
    alice.text(room, "y")
    alice.set_state(room, "m.room.name", {"name": "after"})
    answer = alice.get(alice.room_call(room, "context", event), limit=2)
    names = [e["content"]["name"] for e in of_type(answer["state"], "m.room.name")]
    assert names == ["before"]


def test_context_of_nothing_is_limit_0(alice, told):
    room, sent = told
    answer = alice.get(alice.room_call(room, "context", sent[3]), limit=0)
    assert answer["event"]["event_id"] == sent[3]
    assert (answer.get("events_before", []), answer.get("events_after", [])) == ([], [])


def test_unknown_event_is_not_found(alice, told):
    room, sent = told
    not_found(alice.raw("GET", alice.room_call(room, "event", "$nosuchevent")))
    not_found(alice.raw("GET", alice.room_call(room, "context", "$nosuchevent")))
    other = alice.create_room()
    not_found(alice.raw("GET", alice.room_call(other, "event", sent[0])))


def test_outsiders_get_no_event(alice, bob, told):
    room, sent = told
    for verb in ("event", "context"):
        answer = bob.raw("GET", bob.room_call(room, verb, sent[0]))
        assert answer.status in (403, 404), answer
        assert answer.errcode in ("M_FORBIDDEN", "M_NOT_FOUND"), answer


# -- visibility ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_what_someone_sees_who_joins_later(alice, bob, visibility):
    room = alice.create_room(**seen_by(visibility))
    before = alice.text(room, "before")
    alice.invite(room, bob)
    invited = alice.text(room, "invited")
    bob.join(room)
    after = alice.text(room, "after")
    visible = {
        "world_readable": ["before", "invited", "after"],
        "shared": ["before", "invited", "after"],
        "invited": ["invited", "after"],
        "joined": ["after"],
    }[visibility]
    assert texts(bob.history(room)) == visible
    assert texts(bob.history(room, "b")) == visible[::-1]
    assert texts(timeline(bob.sync(filter={"room": {"timeline": {"limit": 50}}}), room)) == visible
    around = bob.get(bob.room_call(room, "context", after), limit=20)
    assert texts(around["events_before"])[::-1] == visible[:-1]
    for event, text in ((before, "before"), (invited, "invited"), (after, "after")):
        answer = bob.raw("GET", bob.room_call(room, "event", event))
        if text in visible:
            assert answer.json["content"]["body"] == text
        else:
            not_found(answer)
            assert bob.raw("GET", bob.room_call(room, "context", event)).status in (403, 404)


@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_what_someone_sees_who_left(alice, bob, visibility):
    room = alice.room_with(bob, **seen_by(visibility))
    alice.text(room, "while")
    bob.leave(room)
    gone = alice.text(room, "gone")
    seen = texts(bob.history(room, "b"))[::-1]
    # The spec lets a server begin the history of one who left where they left (Synapse does).
    assert seen == ["while"] or (visibility == "world_readable" and seen == ["while", "gone"])
    answer = bob.raw("GET", bob.room_call(room, "event", gone))
    if visibility == "world_readable":
        assert answer.status == 200, answer
    else:
        not_found(answer)


def test_shared_history_opens_again_on_return(alice, bob):
    """`shared`: who is joined now sees everything since it became shared."""
    room = alice.room_with(bob)
    bob.leave(room)
    alice.text(room, "meanwhile")
    alice.invite(room, bob)
    bob.join(room)
    assert texts(bob.history(room)) == ["meanwhile"]


def test_joined_history_stays_shut_for_the_time_away(alice, bob):
    room = alice.room_with(bob, **seen_by("joined"))
    alice.text(room, "one")
    bob.leave(room)
    alice.text(room, "two")
    alice.invite(room, bob)
    alice.text(room, "three")
    bob.join(room)
    alice.text(room, "four")
    assert texts(bob.history(room)) == ["one", "four"]


def test_a_change_of_visibility_does_not_open_the_past(alice, bob):
    """The visibility at the time of each event decides."""
    room = alice.create_room(**seen_by("joined"))
    alice.text(room, "closed")
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": "shared"})
    alice.text(room, "open")
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    alice.text(room, "closed again")
    alice.invite(room, bob)
    bob.join(room)
    assert texts(bob.history(room)) == ["open"]


def test_world_readable_rooms_are_open_to_outsiders(alice, bob):
    room = alice.create_room(**seen_by("world_readable"))
    event = alice.text(room, "for all")
    assert texts(bob.history(room)) == ["for all"]
    assert bob.event(room, event)["content"]["body"] == "for all"
    assert bob.state(room, "m.room.history_visibility") == {"history_visibility": "world_readable"}
    assert ("m.room.create", "") in bob.full_state(room)


def test_shared_rooms_are_shut_to_outsiders_and_invitees(alice, bob):
    room = alice.create_room(bob, **seen_by("shared"))
    event = alice.text(room, "secret")
    for verb in (("messages?dir=b",), ("state",), ("members",)):
        answer = bob.raw("GET", f"{bob.room_call(room)}/{verb[0]}")
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    assert bob.raw("GET", bob.room_call(room, "event", event)).status in (403, 404)


def test_unsigned_tells_the_readers_membership(alice, bob):
    """v1.11: `unsigned.membership` is the reader's membership at the event."""
    room = alice.create_room(name=fresh("name"))
    before = alice.text(room, "before")
    alice.invite(room, bob)
    bob.join(room)
    after = alice.text(room, "after")
    shown = {e["event_id"]: e["unsigned"].get("membership") for e in bob.history(room)}
    assert shown[after] == "join"
    assert shown[before] in ("leave", None)
