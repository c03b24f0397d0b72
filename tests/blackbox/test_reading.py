"""Previews, the old stream, moments, notifications, forgotten rooms, and what stands beside an event."""

import json

import pytest

from harness.client import V1, V3, ids, of_type
from harness.wire import path


def refused(answer, status, code):
    assert (answer.status, answer.errcode) == (status, code), answer


def visibility(client, room, how):
    client.set_state(room, "m.room.history_visibility", {"history_visibility": how})


@pytest.fixture
def open_room(alice):
    content = {"history_visibility": "world_readable"}
    state = {"type": "m.room.history_visibility", "state_key": "", "content": content}
    return alice.create_room(preset="public_chat", initial_state=[state])


# -- previews ("Room previews") ------------------------------------------------------------------------


def test_a_world_readable_room_can_be_previewed(alice, bob, open_room):
    """#get_matrixclientv3roomsroomidinitialsync"""
    sent = [alice.text(open_room, str(n)) for n in range(12)]
    told = bob.get(bob.room_call(open_room, "initialSync"))
    assert told["room_id"] == open_room and "membership" not in told
    assert ids(told["messages"]["chunk"]) == sent[2:]
    assert "m.room.create" in [e["type"] for e in told["state"]]
    assert told["visibility"] in ("private", "public")
    older = bob.messages(open_room, "b", **{"from": told["messages"]["start"]})
    assert ids(older["chunk"])[:2] == sent[1::-1]
    mine = alice.get(alice.room_call(open_room, "initialSync"), limit=1)
    assert mine["membership"] == "join" and ids(mine["messages"]["chunk"]) == sent[-1:]


def test_other_rooms_cannot_be_previewed(alice, bob):
    room = alice.create_room(preset="public_chat")
    refused(bob.raw("GET", bob.room_call(room, "initialSync")), 403, "M_FORBIDDEN")
    refused(bob.raw("GET", f"{V3}/events", query={"room_id": room, "timeout": 0}), 403, "M_FORBIDDEN")


def test_who_previews_can_follow(alice, bob, open_room):
    """#get_matrixclientv3events with `room_id`"""
    token = bob.get(bob.room_call(open_room, "initialSync"))["messages"]["end"]
    first = alice.text(open_room, "first")
    told = bob.get(f"{V3}/events", room_id=open_room, timeout=20_000, **{"from": token})
    assert ids(told["chunk"]) == [first]
    assert (told["start"], told["chunk"][0]["room_id"]) == (token, open_room)
    empty = bob.get(f"{V3}/events", room_id=open_room, timeout=0, **{"from": told["end"]})
    assert empty["chunk"] == []
    visibility(alice, open_room, "shared")
    hidden = alice.text(open_room, "hidden")
    answer = bob.raw("GET", f"{V3}/events", query={"room_id": open_room, "timeout": 0, "from": token})
    assert hidden not in str(answer.json)
    refused(answer, 403, "M_FORBIDDEN")


def test_a_follower_is_woken(alice, bob, open_room):
    token = bob.get(bob.room_call(open_room, "initialSync"))["messages"]["end"]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            bob.get, f"{V3}/events", room_id=open_room, timeout=20_000, **{"from": token}
        )
        sent = alice.text(open_room, "wake up")
        assert ids(waiting.result()["chunk"]) == [sent]


def test_the_old_stream_tells_what_is_new_in_all_rooms(alice, bob):
    """#get_matrixclientv3initialsync, #get_matrixclientv3events"""
    room = alice.room_with(bob)
    alice.text(room, "old")
    invited = alice.create_room(bob, preset="private_chat")
    snapshot = bob.get(f"{V3}/initialSync", limit=3)
    told = {r["room_id"]: r for r in snapshot["rooms"]}
    assert told[room]["membership"] == "join" and len(told[room]["messages"]["chunk"]) == 3
    assert told[invited]["membership"] == "invite"
    assert told[invited]["invite"]["content"]["membership"] == "invite"
    assert "state" not in told[invited]
    new = alice.text(room, "new")
    alice.text(alice.create_room(), "elsewhere")
    stream = bob.get(f"{V3}/events", timeout=20_000, **{"from": snapshot["end"]})
    assert ids(stream["chunk"]) == [new]
    assert bob.get(f"{V3}/events", timeout=0, **{"from": stream["end"]})["chunk"] == []
    refused(bob.raw("GET", f"{V3}/events", query={"from": "x", "timeout": 0}), 400, "M_INVALID_PARAM")
    bob.leave(room)
    assert room not in [r["room_id"] for r in bob.get(f"{V3}/initialSync")["rooms"]]
    archived = {r["room_id"]: r for r in bob.get(f"{V3}/initialSync", archived="true")["rooms"]}
    assert archived[room]["membership"] == "leave"


def test_an_event_is_found_without_its_room(alice, bob):
    """#get_matrixclientv3eventseventid"""
    room = alice.create_room()
    event = alice.text(room, "x")
    found = alice.get(path(f"{V3}/events", event))
    assert (found["room_id"], found["event_id"]) == (room, event)
    refused(bob.raw("GET", path(f"{V3}/events", event)), 404, "M_NOT_FOUND")


# -- moments -------------------------------------------------------------------------------------------


def moment(client, room, ts, direction):
    target = path(f"{V1}/rooms", room, "timestamp_to_event")
    return client.raw("GET", target, query={"ts": ts, "dir": direction})


def test_the_event_nearest_to_a_moment_is_found(alice, bob):
    """#get_matrixclientv1roomsroomidtimestamp_to_event"""
    room = alice.create_room()
    sent = [alice.text(room, str(n)) for n in range(3)]
    times = [alice.event(room, event)["origin_server_ts"] for event in sent]
    last = moment(alice, room, times[2] + 60_000, "b").json
    assert last == {"event_id": sent[2], "origin_server_ts": times[2]}
    first = moment(alice, room, 0, "f").json
    assert alice.event(room, first["event_id"])["type"] == "m.room.create"
    exact = moment(alice, room, times[1], "f").json
    assert exact["origin_server_ts"] == times[1]
    refused(moment(alice, room, times[2] + 60_000, "f"), 404, "M_NOT_FOUND")
    refused(moment(alice, room, 1, "b"), 404, "M_NOT_FOUND")
    refused(moment(alice, room, 1, "x"), 400, "M_INVALID_PARAM")
    refused(moment(bob, room, 1, "f"), 403, "M_FORBIDDEN")


def test_a_moment_before_one_came_leads_to_what_one_may_see(alice, bob):
    room = alice.create_room(preset="private_chat")
    visibility(alice, room, "joined")
    hidden = [alice.text(room, str(n)) for n in range(3)]
    at = alice.event(room, hidden[1])["origin_server_ts"]
    alice.invite(room, bob)
    bob.join(room)
    found = moment(bob, room, at, "f").json
    event = bob.event(room, found["event_id"])
    assert found["event_id"] not in hidden
    assert event["origin_server_ts"] == found["origin_server_ts"] >= at


# -- notifications -------------------------------------------------------------------------------------


def notifications(client, **query):
    return client.get(f"{V3}/notifications", **query)


def noted(page):
    return [note["event"]["event_id"] for note in page["notifications"]]


def test_notifications_are_listed_newest_first_and_paged(alice, bob):
    """#get_matrixclientv3notifications"""
    rooms = [alice.room_with(bob) for _ in range(2)]
    bob.text(rooms[0], "mine does not notify")
    sent = [alice.text(rooms[n % 2], str(n)) for n in range(7)]
    page = notifications(bob, limit=100)
    note = page["notifications"][0]
    assert noted(page)[:7] == sent[::-1]
    assert note["room_id"] == rooms[0] and "notify" in note["actions"]
    assert note["read"] is False and note["ts"] == note["event"]["origin_server_ts"]
    read, token = [], {}
    while True:
        part = notifications(bob, limit=3, **token)
        read += noted(part)
        if "next_token" not in part:
            break
        token = {"from": part["next_token"]}
    assert read == noted(page)
    bob.receipt(rooms[0], sent[4])
    by_id = {n["event"]["event_id"]: n["read"] for n in notifications(bob, limit=100)["notifications"]}
    assert [by_id[event] for event in sent] == [True, False, True, False, True, False, False]


def test_only_highlights_can_be_asked_for(alice, bob):
    room = alice.room_with(bob)
    alice.text(room, "plain")
    mention = alice.text(room, "you", **{"m.mentions": {"user_ids": [bob.user]}})
    assert noted(notifications(bob, only="highlight")) == [mention]
    alice.redact(room, mention)
    assert noted(notifications(bob, only="highlight")) == []


def test_an_invite_notifies_and_ignored_users_do_not(alice, bob):
    room = alice.create_room(bob)
    note = notifications(bob)["notifications"][0]
    assert note["room_id"] == room and note["event"]["content"]["membership"] == "invite"
    bob.join(room)
    alice.text(room, "x")
    assert len(notifications(bob)["notifications"]) == 1
    ignored = {"ignored_users": {alice.user: {}}}
    bob.call("PUT", bob.account_data("account_data", "m.ignored_user_list"), ignored)
    assert noted(notifications(bob)) == []


# -- forgotten rooms -----------------------------------------------------------------------------------


def test_a_forgotten_room_is_as_if_one_had_never_been_there(alice, bob):
    """#post_matrixclientv3roomsroomidforget"""
    room = alice.room_with(bob)
    root = alice.text(room, "root")
    alice.in_thread(room, root, "reply")
    bob.leave(room)
    assert bob.event(room, root)
    bob.forget(room)
    relations = path(f"{V1}/rooms", room, "relations", root)
    for target in (
        bob.room_call(room, "event", root),
        bob.room_call(room, "context", root),
        path(f"{V3}/events", root),
        relations,
    ):
        refused(bob.raw("GET", target), 404, "M_NOT_FOUND")
    for target in (
        bob.room_call(room, "messages") + "?dir=b",
        path(f"{V1}/rooms", room, "threads"),
        bob.room_call(room, "members"),
        bob.room_call(room, "state"),
        bob.room_call(room, "initialSync"),
        path(f"{V1}/rooms", room, "timestamp_to_event") + "?ts=0&dir=f",
    ):
        refused(bob.raw("GET", target), 403, "M_FORBIDDEN")


def test_what_the_world_may_read_stays_after_forgetting(alice, bob, open_room):
    bob.join(open_room)
    said = alice.text(open_room, "open")
    bob.leave(open_room)
    bob.forget(open_room)
    assert bob.event(open_room, said)["event_id"] == said
    assert said in ids(bob.messages(open_room)["chunk"])


# -- beside an event -----------------------------------------------------------------------------------


def test_what_was_replaced_is_named_and_shown_only_to_who_may_see_it(alice, bob):
    """`unsigned.prev_content`, `unsigned.replaces_state` (v1.19)"""
    room = alice.create_room(preset="private_chat")
    visibility(alice, room, "joined")
    first = alice.set_state(room, "m.room.topic", {"topic": "first"})
    alice.invite(room, bob)
    bob.join(room)
    second = alice.set_state(room, "m.room.topic", {"topic": "second"})
    for client, shown in ((alice, {"topic": "first"}), (bob, None)):
        by_state = client.get(client.room_call(room, "state", "m.room.topic"), format="event")
        listed = client.full_state(room)[("m.room.topic", "")]
        for event in (client.event(room, second), by_state, listed):
            unsigned = event["unsigned"]
            assert unsigned["replaces_state"] == first
            assert unsigned.get("prev_content") == shown
            assert unsigned["membership"] == "join"


def test_members_tell_the_membership_of_who_asks(alice, bob):
    """MSC4115 on `GET /members`, and `at` a token of /sync"""
    room = alice.create_room()
    before = alice.sync(filter={"room": {"timeline": {"limit": 1}}})["next_batch"]
    alice.invite(room, bob)
    bob.join(room)
    members = bob.get(bob.room_call(room, "members"))["chunk"]
    assert {e["state_key"]: e["unsigned"]["membership"] for e in members} == {
        alice.user: "leave",
        bob.user: "join",
    }
    then = alice.get(alice.room_call(room, "members"), at=before)["chunk"]
    assert [e["state_key"] for e in then] == [alice.user]


def test_messages_are_filtered_by_how_they_relate(alice, bob):
    """MSC3874, `related_by_senders`, `related_by_rel_types`"""
    room = alice.room_with(bob)
    root, plain = alice.text(room, "root"), alice.text(room, "plain")
    reply = bob.in_thread(room, root, "reply")

    def page(**filter):
        answer = alice.messages(room, "f", limit=100, filter=json.dumps(filter))
        return ids(of_type(answer["chunk"], "m.room.message"))

    assert page() == [root, plain, reply]
    assert page(**{"org.matrix.msc3874.not_rel_types": ["m.thread"]}) == [root, plain]
    assert page(**{"org.matrix.msc3874.rel_types": ["m.thread"]}) == [reply]
    assert page(related_by_rel_types=["m.thread"], related_by_senders=[bob.user]) == [root]
    assert page(related_by_senders=[alice.user]) == []
    answer = alice.raw("GET", alice.room_call(room, "messages"), query={"dir": "b", "filter": "{"})
    refused(answer, 400, "M_INVALID_PARAM")


def test_a_thread_is_counted_without_ignored_users_and_hidden_history(alice, bob, carol):
    """#server-side-aggregation-of-mthread-relationships"""
    room = alice.room_with(bob, carol)
    root = alice.text(room, "root")
    first = bob.in_thread(room, root, "1")
    carol.in_thread(room, root, "2")

    def thread(client):
        return client.event(room, root)["unsigned"]["m.relations"]["m.thread"]

    assert thread(alice)["count"] == 2
    ignored = {"ignored_users": {carol.user: {}}}
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), ignored)
    assert (thread(alice)["count"], thread(alice)["latest_event"]["event_id"]) == (1, first)
    visibility(alice, room, "joined")
    bob.leave(room)
    alice.in_thread(room, root, "3")
    alice.invite(room, bob)
    bob.join(room)
    last = alice.in_thread(room, root, "4")
    assert (thread(bob)["count"], thread(bob)["latest_event"]["event_id"]) == (3, last)
