"""Sending: messages, state, redactions, transaction ids ("Events", "Redactions", "Transaction identifiers")."""

import threading

import pytest

from harness.client import V3, Client, fresh, ids, joined, password_login, timeline

VERSIONS = ["10", "11", "12"]


def forbidden(answer):
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


def put_text(client, room, txn, body="x"):
    target = client.room_call(room, "send", "m.room.message", txn)
    return client.raw("PUT", target, {"msgtype": "m.text", "body": body})


def test_sent_event_comes_back_as_sent(alice, bob):
    room = alice.room_with(bob)
    content = {"msgtype": "m.text", "body": "ü 🦊 \u0000 \\ \"", "org.example": {"n": -7, "deep": [None, True, {}]}}
    event = bob.event(room, alice.send(room, "m.room.message", content))
    assert event["content"] == content
    assert (event["sender"], event["type"], event["room_id"]) == (alice.user, "m.room.message", room)
    assert isinstance(event["origin_server_ts"], int)
    assert "state_key" not in event
    assert "auth_events" not in event


@pytest.mark.parametrize("number", [0.5, 1e100, 2**53, -(2**53)])
def test_numbers_outside_canonical_json_are_refused(alice, number):
    """#canonical-json: integers within +-(2^53 - 1), no fractions (room version 6 and on)."""
    room = alice.create_room()
    answer = alice.raw("PUT", alice.room_call(room, "send", "org.example", fresh()), {"n": number})
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON"), answer


def test_largest_numbers_are_kept(alice):
    room = alice.create_room()
    content = {"big": 2**53 - 1, "small": -(2**53) + 1}
    assert alice.event(room, alice.send(room, "org.example", content))["content"] == content


def test_only_members_send(alice, bob):
    room = alice.create_room()
    forbidden(put_text(bob, room, fresh()))
    alice.invite(room, bob)
    forbidden(put_text(bob, room, fresh()))


def test_transaction_id_makes_a_send_idempotent(alice):
    """#transaction-identifiers: the same request again answers the same event."""
    room = alice.create_room()
    txn = fresh("t")
    first = put_text(alice, room, txn)
    again = put_text(alice, room, txn, "another body changes nothing")
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json
    assert ids(alice.history(room)).count(first.json["event_id"]) == 1
    assert alice.event(room, first.json["event_id"])["content"]["body"] == "x"


def test_transaction_ids_are_per_device_and_per_path(alice):
    """#transaction-identifiers: scoped to the device and the endpoint."""
    # Synapse 1.163 looks at device and room only, not at the event type.
    room, other_room, txn = alice.create_room(), alice.create_room(), fresh("t")
    phone = alice.login()
    sent = [
        alice.text(room, "x", txn),
        phone.text(room, "x", txn),
        alice.text(other_room, "x", txn),
        alice.send(room, "org.example", {}, txn),
    ]
    assert len(set(sent)) == 4


def test_transaction_ids_survive_a_new_token(alice):
    """#transaction-identifiers: since v1.7 the scope is the device, not the access token."""
    room, txn = alice.create_room(), fresh("t")
    first = alice.call("POST", f"{V3}/login", password_login(alice.user, alice.password, refresh_token=True))
    before = Client(alice.server, first)
    event = before.text(room, "x", txn)
    tokens = alice.call("POST", f"{V3}/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    after = Client(alice.server, {**first, **tokens})
    assert after.text(room, "x", txn) == event


def test_simultaneous_equal_requests_make_one_event(alice):
    room, txn = alice.create_room(), fresh("t")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(put_text(alice, room, txn))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 8, answers
    assert len({answer.json["event_id"] for answer in answers}) == 1
    assert len([e for e in alice.history(room) if e["type"] == "m.room.message"]) == 1


def test_transaction_id_is_shown_to_the_sending_device_only(alice, bob):
    """`unsigned.transaction_id`"""
    room, txn = alice.room_with(bob), fresh("t")
    phone = alice.login()
    for client in (alice, phone, bob):
        client.sync()
    event = alice.text(room, "x", txn)
    shown = {}
    for client in (alice, phone, bob):
        events = client.sync_until(lambda a, room=room: timeline(a, room))
        shown[client.device] = next(e for e in events if e["event_id"] == event).get("unsigned", {})
    assert shown[alice.device]["transaction_id"] == txn
    assert "transaction_id" not in shown[phone.device]
    assert "transaction_id" not in shown[bob.device]
    assert alice.event(room, event)["unsigned"]["transaction_id"] == txn


def test_order_of_one_sender_is_kept(alice, bob):
    room = alice.room_with(bob)
    sent = [alice.text(room, str(n)) for n in range(30)]
    assert [e for e in ids(bob.history(room)) if e in sent] == sent


# -- state -------------------------------------------------------------------------------------------


def test_state_can_be_set_and_read(alice, bob):
    room = alice.room_with(bob)
    event = alice.set_state(room, "org.example.thing", {"v": 1}, "key")
    assert bob.state(room, "org.example.thing", "key") == {"v": 1}
    whole = bob.get(bob.room_call(room, "state", "org.example.thing", "key"), format="event")
    assert (whole["event_id"], whole["state_key"], whole["content"]) == (event, "key", {"v": 1})
    alice.set_state(room, "org.example.thing", {"v": 2}, "key")
    assert bob.state(room, "org.example.thing", "key") == {"v": 2}
    assert bob.event(room, event)["content"] == {"v": 1}


def test_empty_state_key_may_be_left_out(alice):
    """The trailing slash and the key are optional."""
    room = alice.create_room()
    for target in (f"{alice.room_call(room)}/state/m.room.name", f"{alice.room_call(room)}/state/m.room.name/"):
        alice.call("PUT", target, {"name": target})
        assert alice.get(target) == {"name": target}


def test_absent_state_is_not_found(alice):
    room = alice.create_room()
    answer = alice.raw("GET", alice.room_call(room, "state", "org.example", "nope"))
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_previous_content_is_told(alice):
    """`unsigned.prev_content` and `unsigned.replaces_state`."""
    room = alice.create_room()
    first = alice.set_state(room, "m.room.name", {"name": "one"})
    alice.sync()
    second = alice.set_state(room, "m.room.name", {"name": "two"})
    for event in (alice.messages(room)["chunk"][0], timeline(alice.sync(), room)[-1]):
        assert event["event_id"] == second
        assert event["unsigned"]["prev_content"] == {"name": "one"}
        assert event["unsigned"].get("replaces_state", first) == first


def test_state_key_with_a_foreign_user_id_is_refused(alice, bob):
    """Authorization: a state key that begins with @ belongs to that user."""
    room = alice.room_with(bob)
    forbidden(alice.raw("PUT", alice.room_call(room, "state", "org.example", bob.user), {}))
    alice.set_state(room, "org.example", {}, alice.user)


@pytest.mark.parametrize("version", VERSIONS)
def test_power_levels_are_enforced(alice, bob, version):
    room = alice.room_with(bob, room_version=version)
    forbidden(bob.raw("PUT", bob.room_call(room, "state", "m.room.name"), {"name": "bob's"}))
    levels = alice.state(room, "m.room.power_levels")
    users = {**levels.get("users", {}), bob.user: 50}
    alice.set_state(room, "m.room.power_levels", {**levels, "users": users, "events": {"org.example": 60}})
    bob.set_state(room, "m.room.name", {"name": "bob's"})
    forbidden(bob.raw("PUT", bob.room_call(room, "send", "org.example", fresh()), {}))
    forbidden(
        bob.raw(
            "PUT",
            bob.room_call(room, "state", "m.room.power_levels"),
            {**levels, "users": {**users, bob.user: 100}},
        )
    )
    alice.send(room, "org.example", {})


@pytest.mark.parametrize("version", VERSIONS)
def test_string_power_levels_are_refused(alice, version):
    """rooms/v10: integers only."""
    room = alice.create_room(room_version=version)
    levels = {**alice.state(room, "m.room.power_levels"), "ban": "50"}
    answer = alice.raw("PUT", alice.room_call(room, "state", "m.room.power_levels"), levels)
    assert answer.status in (400, 403), answer


def test_create_event_cannot_be_sent_twice(alice):
    room = alice.create_room()
    answer = alice.raw("PUT", alice.room_call(room, "state", "m.room.create"), {"room_version": "12"})
    assert answer.status in (400, 403), answer


def test_those_who_left_see_the_state_as_they_left_it(alice, bob):
    """#get_matrixclientv3roomsroomidstate: the state at the time of leaving."""
    room = alice.room_with(bob)
    alice.set_state(room, "m.room.name", {"name": "before"})
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "after"})
    assert bob.state(room, "m.room.name") == {"name": "before"}
    assert bob.full_state(room)["m.room.name", ""]["content"] == {"name": "before"}


# -- redaction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_redaction_empties_the_event(alice, bob, version):
    room = alice.room_with(bob, room_version=version)
    event = alice.text(room, "secret", **{"org.example": 1})
    redaction = alice.redact(room, event, reason="oops")
    for read in (bob.event(room, event), next(e for e in bob.history(room) if e["event_id"] == event)):
        assert read["content"] == {}
        because = read["unsigned"]["redacted_because"]
        assert because["event_id"] == redaction
        assert because["content"]["reason"] == "oops"
    # rooms/v11: `redacts` moved to content; clients get it at both places whatever the version.
    read = bob.event(room, redaction)
    assert read["content"].get("redacts", read.get("redacts")) == event
    assert (read["redacts"] if version == "10" else read["content"]["redacts"]) == event


def test_redaction_is_idempotent_by_transaction_id(alice):
    room = alice.create_room()
    event, txn = alice.text(room, "x"), fresh("t")
    assert alice.redact(room, event, txn) == alice.redact(room, event, txn)
    assert len([e for e in alice.history(room) if e["type"] == "m.room.redaction"]) == 1


def test_redaction_of_others_needs_power(alice, bob):
    """#redactions: one's own always; those of others with the `redact` level."""
    room = alice.room_with(bob)
    hers, his = alice.text(room, "hers"), bob.text(room, "his")
    answer = bob.raw("PUT", bob.room_call(room, "redact", hers, fresh()), {})
    forbidden(answer)
    assert alice.event(room, hers)["content"]["body"] == "hers"
    bob.redact(room, bob.text(room, "my own"))
    alice.redact(room, his)
    assert alice.event(room, his)["content"] == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_redacted_state_keeps_what_the_algorithm_keeps(alice, bob, version):
    """rooms/v11, "Redactions": membership of a member event stays, its name goes."""
    room = alice.room_with(bob, room_version=version)
    event = alice.full_state(room)["m.room.member", bob.user]["event_id"]
    name = alice.set_state(room, "m.room.name", {"name": "gone"})
    alice.redact(room, event)
    alice.redact(room, name)
    assert alice.state(room, "m.room.member", bob.user) == {"membership": "join"}
    assert alice.state(room, "m.room.name") == {}
    assert bob.text(room, "still in")


def test_redaction_reaches_sync(alice, bob):
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    bob.sync()
    redaction = alice.redact(room, event)
    seen = bob.sync_until(lambda a: timeline(a, room))
    assert ids(seen) == [redaction]
    first = bob.sync(since=None, advance=False)
    shown = {e["event_id"]: e for e in timeline(first, room)}
    assert shown[event]["content"] == {}


def test_redaction_through_send(alice):
    """v1.18: m.room.redaction may be sent like any event."""
    room = alice.create_room()
    event = alice.text(room, "x")
    alice.send(room, "m.room.redaction", {"redacts": event})
    assert alice.event(room, event)["content"] == {}


def test_redacting_the_unknown(alice):
    room = alice.create_room()
    answer = alice.raw("PUT", alice.room_call(room, "redact", "$nosuch", fresh()), {})
    assert answer.status in (200, 400, 403, 404), answer
    assert joined(alice.sync(since=None), room)["timeline"]["events"]
