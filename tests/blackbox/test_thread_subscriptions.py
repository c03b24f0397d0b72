"""Thread subscriptions (MSC4306) and catching up with them (MSC4308)."""

import pytest

from harness.client import V3, joined
from harness.wire import path

ALL = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
ROOMS = "/_matrix/client/unstable/io.element.msc4306/rooms"


def place(room, root):
    return path(ROOMS, room, "thread", root, "subscription")


def subscribe(client, room, root, **body):
    return client.raw("PUT", place(room, root), body)


def unsubscribe(client, room, root):
    assert client.call("DELETE", place(room, root)) == {}


@pytest.fixture
def room(alice, bob):
    return alice.room_with(bob)


@pytest.fixture
def root(alice, room):
    return alice.text(room, "root")


def test_the_flag_is_told(alice):
    assert alice.get("/_matrix/client/versions")["unstable_features"]["org.matrix.msc4306"]


def test_subscribe_read_unsubscribe(alice, bob, room, root):
    assert bob.raw("GET", place(room, root)).errcode == "M_NOT_FOUND"
    assert subscribe(bob, room, root).json == {}
    assert bob.get(place(room, root)) == {"automatic": False}
    assert alice.raw("GET", place(room, root)).errcode == "M_NOT_FOUND"
    for _ in range(2):
        unsubscribe(bob, room, root)
    assert bob.raw("GET", place(room, root)).errcode == "M_NOT_FOUND"


def test_an_automatic_subscription_names_a_reply_and_never_undoes_what_the_user_did(alice, bob, room, root):
    reply = alice.in_thread(room, root, "reply")
    answer = subscribe(bob, room, root, automatic=root)
    assert (answer.status, answer.errcode) == (400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD")
    subscribe(bob, room, root, automatic=reply)
    assert bob.get(place(room, root)) == {"automatic": True}
    unsubscribe(bob, room, root)
    answer = subscribe(bob, room, root, automatic=reply)
    assert (answer.status, answer.errcode) == (409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION")
    later = alice.in_thread(room, root, "later")
    assert subscribe(bob, room, root, automatic=later).status == 200
    subscribe(bob, room, root)
    assert bob.get(place(room, root)) == {"automatic": False}


def test_what_is_not_there_or_not_ones_own_is_not_found(carol, alice, room, root):
    assert subscribe(carol, room, root).errcode == "M_NOT_FOUND"
    assert subscribe(alice, room, "$nothing").errcode == "M_NOT_FOUND"
    other = alice.create_room()
    assert subscribe(alice, other, root).errcode == "M_NOT_FOUND"


def counts(client, room):
    filter = {"room": {"timeline": {"unread_thread_notifications": True}}}
    answer = joined(client.sync(since=None, filter=filter, advance=False), room)
    threads = answer.get("unread_thread_notifications", {})
    return {root: count["notification_count"] for root, count in threads.items()}


def test_threads_count_for_whoever_is_subscribed_and_for_who_knows_no_subscriptions(alice, bob, room, root):
    other = alice.text(room, "another root")
    for thread in (root, other):
        alice.in_thread(room, thread, "reply")
    assert counts(bob, room) == {root: 1, other: 1}, "a client that knows nothing of subscriptions"
    subscribe(bob, room, root)
    assert counts(bob, room) == {root: 1}
    mention = {"m.mentions": {"user_ids": [bob.user]}}
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": other}}
    alice.text(room, "you!", **mention, **relation)
    assert counts(bob, room) == {root: 1, other: 1}
    unsubscribe(bob, room, root)
    assert counts(bob, room) == {other: 1}


def test_counts_follow_a_subscription_in_sync(alice, bob, room, root):
    other = alice.text(room, "another root")
    alice.in_thread(room, root, "reply")
    bob.sync()
    subscribe(bob, room, other)
    answer = joined(bob.sync(), room)
    assert answer["unread_notifications"]["notification_count"] == 2


def test_the_rules_are_there_and_can_be_switched_off(alice, bob, room, root):
    rules = bob.get(f"{V3}/pushrules/")["global"]["postcontent"]
    assert [rule["rule_id"] for rule in rules] == [
        ".io.element.msc4306.rule.unsubscribed_thread",
        ".io.element.msc4306.rule.subscribed_thread",
    ]
    assert rules[0]["conditions"] == [{"kind": "io.element.msc4306.thread_subscription", "subscribed": False}]
    target = path(f"{V3}/pushrules/global/postcontent", rules[0]["rule_id"], "enabled")
    bob.call("PUT", target, {"enabled": False})
    assert bob.get(target) == {"enabled": False}
    subscribe(bob, room, alice.text(room, "another root"))
    alice.in_thread(room, root, "reply")
    assert counts(bob, room) == {root: 1}


def test_changes_are_paged_backward_and_only_the_last_of_a_thread_counts(alice, room):
    roots = [alice.text(room, str(n)) for n in range(5)]
    for root in roots:
        subscribe(alice, room, root)
    unsubscribe(alice, room, roots[0])
    told, token = [], {}
    while True:
        page = alice.get(ALL, dir="b", limit=2, **token)
        for root, state in page.get("unsubscribed", {}).get(room, {}).items():
            told.append((state["bump_stamp"], root, None))
        for root, state in page.get("subscribed", {}).get(room, {}).items():
            told.append((state["bump_stamp"], root, state["automatic"]))
        if "end" not in page:
            break
        token = {"from": page["end"]}
    told.sort(reverse=True)
    assert [(root, automatic) for _, root, automatic in told] == [
        (roots[0], None), *((root, False) for root in reversed(roots[1:])),
    ]


def test_paging_wants_a_direction_and_a_positive_limit(alice):
    assert alice.raw("GET", ALL).errcode == "M_MISSING_PARAM"
    assert alice.raw("GET", ALL, query={"dir": "f"}).errcode == "M_INVALID_PARAM"
    assert alice.raw("GET", ALL, query={"dir": "b", "limit": 0}).errcode == "M_INVALID_PARAM"
