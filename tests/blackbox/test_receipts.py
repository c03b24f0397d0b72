"""Receipts, read markers, typing, and the unread counts that follow ("Receipts", "Read and unread markers")."""

import pytest

from harness.client import V3, fresh, joined
from harness.wire import path

THREADS = {"room": {"timeline": {"unread_thread_notifications": True}}}


def receipts(answer, room):
    """{event: {kind: {user: body}}} of one sync answer."""
    events = joined(answer, room).get("ephemeral", {}).get("events", [])
    merged: dict = {}
    for event in events:
        if event["type"] == "m.receipt":
            for target, kinds in event["content"].items():
                for kind, users in kinds.items():
                    merged.setdefault(target, {}).setdefault(kind, {}).update(users)
    return merged


def typers(answer, room):
    """Who types, or None if the answer does not say."""
    events = joined(answer, room).get("ephemeral", {}).get("events", [])
    found = [e["content"]["user_ids"] for e in events if e["type"] == "m.typing"]
    return found[-1] if found else None


def counts(client, room, **query):
    """(notifications, highlights) of a room as a fresh initial sync tells them."""
    part = joined(client.sync(since=None, advance=False, **query), room)["unread_notifications"]
    return part["notification_count"], part["highlight_count"]


def thread_counts(client, room):
    """The main timeline's counts, and those of each thread."""
    part = joined(client.sync(since=None, advance=False, filter=THREADS), room)

    def pair(c):
        return (c["notification_count"], c["highlight_count"])

    by_thread = part.get("unread_thread_notifications", {})
    return pair(part["unread_notifications"]), {root: pair(c) for root, c in by_thread.items()}


def mention(client, room, *others, **more):
    names = [other.user for other in others]
    return client.text(room, "hey", **{"m.mentions": {"user_ids": names}, **more})


def typing(client, room, on, timeout=30000, user=None):
    body = {"typing": on, "timeout": timeout} if on else {"typing": False}
    return client.raw("PUT", client.room_call(room, "typing", user or client.user), body)


# -- receipts ------------------------------------------------------------------------------------------


def test_read_receipts_reach_everyone(alice, bob):
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    alice.sync()
    bob.receipt(room, event)
    seen = alice.sync_until(lambda a: receipts(a, room))
    assert list(seen) == [event]
    assert seen[event]["m.read"][bob.user]["ts"] > 0
    first = receipts(alice.sync(since=None, advance=False), room)
    assert bob.user in first[event]["m.read"]


def test_a_receipt_moves_and_leaves_one_behind(alice, bob):
    room = alice.room_with(bob)
    one, two = alice.text(room, "1"), alice.text(room, "2")
    bob.receipt(room, one)
    bob.receipt(room, two)
    places = {e for e, kinds in receipts(alice.sync(), room).items() if bob.user in kinds.get("m.read", {})}
    assert places == {two}


def test_private_receipts_stay_private(alice, bob):
    """#private-read-receipts"""
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    phone = bob.login()
    for client in (alice, phone):
        client.sync()
    bob.receipt(room, event, "m.read.private")
    seen = phone.sync_until(lambda a: receipts(a, room))
    assert list(seen[event]) == ["m.read.private"]
    alice.set_state(room, "m.room.name", {"name": "later"})
    answer = alice.sync()
    assert joined(answer, room)
    assert receipts(answer, room) == {}
    assert receipts(alice.sync(since=None, advance=False), room) == {}


def test_threaded_receipts_carry_their_thread(alice, bob):
    """#threaded-read-receipts"""
    room = alice.room_with(bob)
    root = alice.text(room, "root")
    reply = alice.in_thread(room, root, "reply")
    alice.sync()
    bob.receipt(room, root, thread_id="main")
    bob.receipt(room, reply, thread_id=root)
    seen: dict = {}

    def both(answer):
        for event, kinds in receipts(answer, room).items():
            seen[event] = kinds["m.read"][bob.user]["thread_id"]
        return len(seen) == 2

    alice.sync_until(both)
    assert seen == {root: "main", reply: root}


@pytest.mark.parametrize(("bad", "errcode"), [("", "M_INVALID_PARAM"), (5, None), ([], None)])
def test_malformed_receipts_are_400(alice, bad, errcode):
    room = alice.create_room()
    event = alice.text(room, "x")
    answer = alice.raw("POST", alice.room_call(room, "receipt", "m.read", event), {"thread_id": bad})
    assert answer.status == 400, answer
    assert answer.errcode == errcode or (errcode is None and answer.errcode in ("M_INVALID_PARAM", "M_BAD_JSON"))


def test_unknown_receipt_type_is_400(alice):
    room = alice.create_room()
    event = alice.text(room, "x")
    answer = alice.raw("POST", alice.room_call(room, "receipt", "org.example.nope", event), {})
    assert answer.status == 400, answer


def test_fully_read_marker_is_account_data(alice):
    """#fully-read-markers: m.fully_read in the room's account data, private to the user."""
    room = alice.create_room()
    one, two = alice.text(room, "1"), alice.text(room, "2")
    alice.sync()
    alice.call("POST", alice.room_call(room, "read_markers"), {"m.fully_read": one, "m.read": one})
    events = alice.sync_until(lambda a: joined(a, room).get("account_data", {}).get("events"))
    assert events == [{"type": "m.fully_read", "content": {"event_id": one}}]
    alice.receipt(room, two, "m.fully_read")
    assert alice.get(alice.account_data("rooms", room, "account_data", "m.fully_read")) == {"event_id": two}


def test_read_markers_set_receipts_too(alice, bob):
    room = alice.room_with(bob)
    one, two, three = (alice.text(room, str(n)) for n in range(3))
    alice.sync()
    body = {"m.fully_read": one, "m.read": two, "m.read.private": three}
    bob.call("POST", bob.room_call(room, "read_markers"), body)
    seen = alice.sync_until(lambda a: receipts(a, room))
    assert {e: list(kinds) for e, kinds in seen.items()} == {two: ["m.read"]}
    assert counts(bob, room) == (0, 0)


def test_outsiders_set_no_receipts(alice, bob):
    room = alice.create_room()
    event = alice.text(room, "x")
    for target, body in (
        (bob.room_call(room, "receipt", "m.read", event), {}),
        (bob.room_call(room, "read_markers"), {"m.read": event}),
    ):
        answer = bob.raw("POST", target, body)
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


# -- unread counts -------------------------------------------------------------------------------------


def test_messages_of_others_count(alice, bob):
    """#receiving-notifications: .m.rule.message notifies."""
    room = alice.room_with(bob)
    assert counts(bob, room) == (0, 0)
    for n in range(3):
        alice.text(room, str(n))
    assert counts(bob, room) == (3, 0)
    assert counts(alice, room) == (0, 0)


def test_what_does_not_notify_does_not_count(alice, bob, carol):
    """Notices, reactions, edits and state: no notification by the default rules."""
    room = alice.room_with(bob, carol)
    event = alice.text(room, "one")
    alice.send(room, "m.room.message", {"msgtype": "m.notice", "body": "beep"})
    alice.react(room, event)
    alice.edit(room, event, "two")
    alice.set_state(room, "m.room.name", {"name": "x"})
    alice.redact(room, alice.react(room, event, "🎉"))
    assert counts(bob, room) == (1, 0)


def test_mentions_highlight(alice, bob, carol):
    """.m.rule.is_user_mention, .m.rule.is_room_mention"""
    room = alice.room_with(bob, carol)
    mention(alice, room, bob)
    alice.text(room, "plain")
    assert counts(bob, room) == (2, 1)
    assert counts(carol, room) == (2, 0)
    alice.text(room, "all", **{"m.mentions": {"room": True}})
    assert counts(carol, room) == (3, 1)
    bob.text(room, "may not", **{"m.mentions": {"room": True}})
    assert counts(carol, room) == (4, 1)


def test_counts_come_incrementally(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    mention(alice, room, bob)
    part = joined(bob.sync_until(lambda a: a if joined(a, room) else None), room)
    assert part["unread_notifications"] == {"notification_count": 1, "highlight_count": 1}


@pytest.mark.parametrize("kind", ["m.read", "m.read.private"])
def test_a_receipt_clears_what_came_before_it(alice, bob, kind):
    room = alice.room_with(bob)
    events = [mention(alice, room, bob) for _ in range(4)]
    bob.receipt(room, events[1], kind)
    assert counts(bob, room) == (2, 2)
    bob.receipt(room, events[3], kind)
    assert counts(bob, room) == (0, 0)
    alice.text(room, "new")
    assert counts(bob, room) == (1, 0)


def test_clearing_reaches_a_waiting_sync(alice, bob):
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    phone = bob.login()
    phone.sync()
    bob.receipt(room, event)
    part = joined(phone.sync_until(lambda a: a if joined(a, room) else None), room)
    assert part["unread_notifications"]["notification_count"] == 0


def test_an_older_receipt_does_not_bring_notifications_back(alice, bob):
    room = alice.room_with(bob)
    events = [alice.text(room, str(n)) for n in range(3)]
    bob.receipt(room, events[2])
    bob.receipt(room, events[0])
    assert counts(bob, room) == (0, 0)


def test_ones_own_messages_do_not_count(alice, bob):
    """Push rules are not evaluated for the sender's own events."""
    room = alice.room_with(bob)
    phone = bob.login()
    mention(phone, room, bob)
    assert counts(bob, room) == (0, 0)


def test_a_redacted_message_no_longer_counts(alice, bob):
    room = alice.room_with(bob)
    event = mention(alice, room, bob)
    alice.redact(room, event)
    assert counts(bob, room) == (0, 0)


def test_own_rules_decide(alice, bob):
    """A muted room, a keyword, a silenced sender."""
    muted, keyed = alice.room_with(bob), alice.room_with(bob)
    rules = f"{V3}/pushrules/global"
    mute = {"actions": [], "conditions": [{"kind": "event_match", "key": "room_id", "pattern": muted}]}
    bob.call("PUT", path(rules, "override", muted), mute)
    bob.call("PUT", path(rules, "content", "cake"), {"pattern": "cake", "actions": ["notify", {"set_tweak": "highlight"}]})
    alice.text(muted, "x")
    alice.text(keyed, "there is CAKE!")
    alice.text(keyed, "pancakes do not match")
    assert counts(bob, muted) == (0, 0)
    assert counts(bob, keyed) == (2, 1)


def test_counts_per_thread(alice, bob):
    """#receiving-notifications: with `unread_thread_notifications` threads are counted apart."""
    room = alice.room_with(bob)
    root = alice.text(room, "root")
    alice.in_thread(room, root, "one")
    last = mention(alice, room, bob, **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
    alice.text(room, "main")
    assert thread_counts(bob, room) == ((2, 0), {root: (2, 1)})
    assert counts(bob, room) == (4, 1)
    bob.receipt(room, last, thread_id=root)
    assert thread_counts(bob, room) == ((2, 0), {})
    final = alice.text(room, "main again")
    bob.receipt(room, final, thread_id="main")
    assert thread_counts(bob, room) == ((0, 0), {})


def test_a_main_receipt_keeps_threads_unread_and_an_unthreaded_one_clears_all(alice, bob):
    room = alice.room_with(bob)
    root = alice.text(room, "root")
    alice.in_thread(room, root, "one")
    last = alice.text(room, "main")
    bob.receipt(room, last, thread_id="main")
    assert thread_counts(bob, room) == ((0, 0), {root: (1, 0)})
    bob.receipt(room, last)
    assert thread_counts(bob, room) == ((0, 0), {})


# -- typing --------------------------------------------------------------------------------------------


def test_typing_is_seen_and_ends(alice, bob):
    """#typing-notifications"""
    room = alice.room_with(bob)
    alice.sync()
    assert typing(bob, room, True).status == 200
    assert alice.sync_until(lambda a: typers(a, room)) == [bob.user]
    assert typing(bob, room, False).status == 200
    alice.sync_until(lambda a: typers(a, room) == [])


def test_typing_times_out(alice, bob):
    room = alice.room_with(bob)
    alice.sync()
    assert typing(bob, room, True, 500).status == 200
    alice.sync_until(lambda a: typers(a, room) == [bob.user])
    alice.sync_until(lambda a: typers(a, room) == [])


def test_typing_of_several(alice, bob, carol):
    room = alice.room_with(bob, carol)
    alice.sync()
    typing(bob, room, True)
    typing(carol, room, True)
    alice.sync_until(lambda a: set(typers(a, room) or []) == {bob.user, carol.user})


def test_nobody_types_for_another_or_from_outside(alice, bob):
    room = alice.create_room()
    for answer in (typing(bob, room, True), typing(bob, room, True, user=alice.user)):
        # Synapse 1.163 answers 400 to the second.
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    elsewhere = bob.create_room(name=fresh())
    assert typers(bob.sync(), elsewhere) in (None, [])
