"""Delayed events (MSC4140), as deployed clients use them and as accepted."""

import pytest

from harness.client import V1, V3, Client, fresh, timeline
from harness.wire import path

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"
DELAY = "org.matrix.msc4140.delay"
SOON, LATE = 300, 600_000


def send_later(client, room, delay, content=None, txn=None, kind="m.room.message"):
    target = client.room_call(room, "send", kind, txn or fresh("t"))
    return client.raw("PUT", target, content or {"body": "later"}, query={DELAY: delay})


def state_later(client, room, delay, content, key=""):
    target = client.room_call(room, "state", "org.example.call", key)
    return client.raw("PUT", target, content, query={DELAY: delay})


def schedule(client, room, delay, **more):
    target = client.room_call(room, "delayed_event", more.pop("kind", "m.room.message"), fresh("t"))
    return client.raw("PUT", target, {"delay_ms": delay, "content": {"body": "later"}, **more})


def act(client, delay_id, action, token=None):
    return client.raw("POST", path(f"{UNSTABLE}/delayed_events", delay_id, action), {}, token=token)


def scheduled(client):
    return client.get(f"{UNSTABLE}/delayed_events")["delayed_events"]


def message_of(client, room):
    def found(answer):
        return [e for e in timeline(answer, room) if e["content"].get("body") == "later"]

    return client.sync_until(found)[0]


@pytest.fixture
def room(alice, bob):
    room = alice.room_with(bob)
    alice.sync(), bob.sync()
    return room


def test_it_is_told_that_there_are_delayed_events(alice):
    flags = alice.get("/_matrix/client/versions")["unstable_features"]
    assert flags["org.matrix.msc4140"] and flags["org.matrix.msc4140.stable"]
    limits = alice.get(f"{V3}/capabilities")["capabilities"]["m.delayed_events"]
    assert limits["max_delay_ms"] >= 24 * 3_600_000 and limits["max_scheduled"] == 100


def test_a_message_is_sent_when_its_time_has_come(alice, bob, room):
    delay_id = send_later(alice, room, SOON).json["delay_id"]
    seen = message_of(bob, room)
    assert seen["sender"] == alice.user
    assert "delay_id" not in seen["unsigned"], "only the sender may know"
    assert message_of(alice, room)["unsigned"]["delay_id"] == delay_id
    assert alice.event(room, seen["event_id"])["unsigned"]["delay_id"] == delay_id
    assert "delay_id" not in bob.event(room, seen["event_id"])["unsigned"]


def test_a_scheduled_event_is_listed_for_its_owner_only(alice, bob, room):
    delay_id = state_later(alice, room, LATE, {"n": 1}, "key").json["delay_id"]
    listed = scheduled(alice)
    assert len(listed) == 1
    assert listed[0].pop("running_since") == listed[0].pop("delayed_since_ts") > 0
    assert listed[0] == {
        "delay_id": delay_id, "room_id": room, "type": "org.example.call", "state_key": "key",
        "delay": LATE, "delay_ms": LATE, "content": {"n": 1},
    }
    assert scheduled(bob) == []
    assert bob.raw("GET", path(f"{V1}/delayed_events", delay_id)).errcode == "M_NOT_FOUND"
    one = alice.get(path(f"{V1}/delayed_events", delay_id))
    assert one["delay_ms"] == LATE and "delay" not in one and "finalised" not in one


@pytest.mark.parametrize("by_body", [False, True])
def test_who_knows_the_delay_id_acts_without_a_token(alice, bob, room, by_body):
    delay_id = send_later(alice, room, LATE).json["delay_id"]
    target = path(f"{UNSTABLE}/delayed_events", delay_id)
    for action in ("restart", "send"):
        if by_body:
            answer = alice.raw("POST", target, {"action": action}, token=None)
        else:
            answer = act(alice, delay_id, action)
        assert (answer.status, answer.json) == (200, {})
    message_of(bob, room)
    assert scheduled(alice) == []


def test_what_was_cancelled_is_not_sent(alice, bob, room):
    delay_id = state_later(alice, room, LATE, {"n": 1}).json["delay_id"]
    assert act(alice, delay_id, "cancel").status == 200
    assert act(alice, delay_id, "cancel").status == 200
    for action in ("send", "restart"):
        answer = act(alice, delay_id, action)
        assert (answer.status, answer.errcode) == (409, "M_UNKNOWN")
    assert scheduled(alice) == []
    ended = alice.get(path(f"{V1}/delayed_events", delay_id))["finalised"]
    assert set(ended) == {"finalised_ts"}
    assert alice.raw("GET", alice.room_call(room, "state", "org.example.call", "")).status == 404


def test_the_accepted_paths_want_the_owners_token(alice, bob, room):
    answer = schedule(alice, room, LATE, kind="org.example.call", state_key="k")
    target = path(f"{V1}/delayed_events", answer.json["delay_id"], "send")
    assert alice.raw("POST", target, {}, token=None).status == 401
    assert bob.raw("POST", target, {}).errcode == "M_NOT_FOUND"
    assert alice.raw("POST", target, {}).json == {}
    assert alice.state(room, "org.example.call", "k") == {"body": "later"}
    ended = alice.get(f"{V1}/delayed_events", status="finalised")["delayed_events"]
    assert ended[0]["finalised"]["event_id"].startswith("$")


def test_a_repeated_request_schedules_once(alice, room):
    first, second = (send_later(alice, room, LATE, txn="same").json for _ in range(2))
    assert first == second and len(scheduled(alice)) == 1


def test_unknown_ids_and_actions(alice, room):
    assert act(alice, "nothing", "send").errcode == "M_NOT_FOUND"
    delay_id = send_later(alice, room, LATE).json["delay_id"]
    assert act(alice, delay_id, "explode").status == 404
    answer = alice.raw("POST", path(f"{UNSTABLE}/delayed_events", delay_id), {"action": "x"})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    answer = alice.raw("POST", path(f"{UNSTABLE}/delayed_events", delay_id), {})
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")


@pytest.mark.parametrize("delay", ["0", "-1", "soon", "1.5"])
def test_a_delay_is_a_positive_number(alice, room, delay):
    answer = send_later(alice, room, delay)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


def test_a_delay_beyond_the_maximum_is_refused(alice, room):
    answer = send_later(alice, room, 10**12)
    assert answer.status == 400
    assert answer.json["org.matrix.msc4140.errcode"] == "M_MAX_DELAY_EXCEEDED"
    assert schedule(alice, room, 10**12).errcode == "M_MAX_DELAY_EXCEEDED"


def test_nobody_schedules_without_end(alice, room):
    for _ in range(100):
        assert send_later(alice, room, LATE).status == 200
    answer = send_later(alice, room, LATE)
    assert (answer.status, answer.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert 0 < int(answer.headers["Retry-After"]) <= LATE / 1000


def test_who_is_not_in_the_room_schedules_nothing(alice, carol, room):
    assert send_later(carol, room, LATE).errcode == "M_FORBIDDEN"


def test_a_newer_state_event_of_another_cancels(alice, bob, room):
    delay_id = state_later(alice, room, LATE, {"n": 1}).json["delay_id"]
    alice.set_state(room, "m.room.power_levels", {"users": {bob.user: 50}, "users_default": 50})
    bob.set_state(room, "org.example.call", {"n": 2})
    assert "finalised" in alice.get(path(f"{V1}/delayed_events", delay_id))


def test_what_came_due_while_the_server_was_down_is_sent_in_order(make_server):
    server = make_server()
    alice = Client.register(server)
    room = alice.create_room()
    for n, delay in ((2, 4_000), (1, 3_000)):
        assert send_later(alice, room, delay, {"n": n}, kind="org.example.n").status == 200
    server.restart()

    def numbers(_):
        found = [e["content"]["n"] for e in alice.history(room) if e["type"] == "org.example.n"]
        return found if len(found) == 2 else None

    assert alice.sync_until(numbers) == [1, 2]
