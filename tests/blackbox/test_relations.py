"""Relations, threads and bundled aggregations ("Forming relationships between events")."""

import pytest

from harness.client import V1, ids, of_type, timeline
from harness.wire import path


def related(client, room, event, *narrow, **query):
    return client.get(path(f"{V1}/rooms", room, "relations", event, *narrow), **query)


def threads(client, room, **query):
    return client.get(path(f"{V1}/rooms", room, "threads"), **query)


def bundle(client, room, event, kind):
    return client.event(room, event).get("unsigned", {}).get("m.relations", {}).get(kind)


def refer(client, room, event):
    relation = {"rel_type": "m.reference", "event_id": event}
    return client.send(room, "org.example.ref", {"m.relates_to": relation})


def test_relations_are_listed_newest_first(alice, bob):
    """#get_matrixclientv1roomsroomidrelationseventid"""
    room = alice.room_with(bob)
    root = alice.text(room, "root")
    children = [bob.react(room, root, "👍"), alice.edit(room, root, "new"), bob.in_thread(room, root, "deep")]
    assert ids(related(alice, room, root)["chunk"]) == children[::-1]
    assert ids(related(alice, room, root, dir="f")["chunk"]) == children
    assert ids(related(alice, room, root, "m.annotation")["chunk"]) == [children[0]]
    assert ids(related(alice, room, root, "m.replace", "m.room.message")["chunk"]) == [children[1]]
    assert related(alice, room, root, "m.replace", "m.reaction")["chunk"] == []
    assert related(alice, room, children[0])["chunk"] == []


def test_relations_are_paged(alice):
    room = alice.create_room()
    root = alice.text(room, "root")
    children = [alice.react(room, root, str(n)) for n in range(7)]
    seen, token = [], {}
    while True:
        page = related(alice, room, root, limit=3, **token)
        seen += ids(page["chunk"])
        if "next_batch" not in page:
            break
        token = {"from": page["next_batch"]}
    assert seen == children[::-1]


def test_relations_recurse(alice):
    """v1.10: `recurse=true` follows at least three levels."""
    room = alice.create_room()
    root = alice.text(room, "root")
    child = alice.in_thread(room, root, "child")
    grandchild = alice.edit(room, child, "edited")
    assert ids(related(alice, room, root)["chunk"]) == [child]
    deep = related(alice, room, root, recurse=True)
    assert ids(deep["chunk"]) == [grandchild, child]
    assert deep["recursion_depth"] >= 3


def test_relations_of_the_unknown_and_to_outsiders(alice, bob):
    room = alice.create_room()
    root = alice.text(room, "root")
    for client, event in ((alice, "$nosuch"), (bob, root)):
        answer = client.raw("GET", path(f"{V1}/rooms", room, "relations", event))
        assert answer.status in (403, 404), answer


def test_a_redacted_child_is_no_relation(alice):
    room = alice.create_room()
    root = alice.text(room, "root")
    child = alice.react(room, root)
    alice.redact(room, child)
    assert related(alice, room, root, "m.annotation")["chunk"] == []


# -- edits ---------------------------------------------------------------------------------------------


def test_the_newest_edit_is_bundled(alice, bob):
    """#server-side-aggregation-of-mreplace-relationships: the whole latest replacement; content stays."""
    room = alice.room_with(bob)
    event = alice.text(room, "one")
    alice.edit(room, event, "two")
    newest = alice.edit(room, event, "three")
    read = bob.event(room, event)
    assert read["content"]["body"] == "one"
    replaced = read["unsigned"]["m.relations"]["m.replace"]
    assert replaced["event_id"] == newest
    assert replaced["content"]["m.new_content"]["body"] == "three"
    assert replaced["sender"] == alice.user


def test_edits_by_others_or_of_another_type_do_not_count(alice, bob):
    """#validity-of-replacement-events"""
    room = alice.room_with(bob)
    event = alice.text(room, "mine")
    bob.edit(room, event, "forged")
    relation = {"rel_type": "m.replace", "event_id": event}
    alice.send(room, "org.example.other", {"m.relates_to": relation, "m.new_content": {"body": "no"}})
    assert bundle(alice, room, event, "m.replace") is None


def test_a_redacted_edit_falls_back(alice):
    room = alice.create_room()
    event = alice.text(room, "one")
    first = alice.edit(room, event, "two")
    second = alice.edit(room, event, "three")
    alice.redact(room, second)
    assert bundle(alice, room, event, "m.replace")["event_id"] == first
    alice.redact(room, first)
    assert bundle(alice, room, event, "m.replace") is None


def test_a_redacted_event_has_no_edits(alice):
    room = alice.create_room()
    event = alice.text(room, "one")
    alice.edit(room, event, "two")
    alice.redact(room, event)
    assert bundle(alice, room, event, "m.replace") is None


# -- annotations and references --------------------------------------------------------------------------


def test_a_duplicate_annotation_is_refused(alice, bob):
    """#avoiding-duplicate-annotations: 400 M_DUPLICATE_ANNOTATION."""
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    mine = alice.react(room, event, "👍")
    relation = {"rel_type": "m.annotation", "event_id": event, "key": "👍"}
    answer = alice.raw("PUT", alice.room_call(room, "send", "m.reaction", "dup"), {"m.relates_to": relation})
    assert (answer.status, answer.errcode) == (400, "M_DUPLICATE_ANNOTATION"), answer
    bob.react(room, event, "👍")
    alice.react(room, event, "🎉")
    alice.redact(room, mine)
    alice.react(room, event, "👍")


def test_annotations_are_not_bundled(alice):
    """#annotations-client-behaviour: the server does not aggregate m.annotation."""
    room = alice.create_room()
    event = alice.text(room, "x")
    alice.react(room, event)
    assert bundle(alice, room, event, "m.annotation") is None


def test_references_are_bundled_as_ids(alice):
    """#server-side-aggregation-of-mreference"""
    room = alice.create_room()
    event = alice.text(room, "x")
    made = [refer(alice, room, event) for _ in range(3)]
    assert bundle(alice, room, event, "m.reference") == {"chunk": [{"event_id": e} for e in made]}


# -- threads -------------------------------------------------------------------------------------------


def test_a_thread_is_summarised_on_its_root(alice, bob, carol):
    """#server-side-aggregation-of-mthread-relationships"""
    room = alice.room_with(bob, carol)
    root = alice.text(room, "root")
    alice.in_thread(room, root, "one")
    last = bob.in_thread(room, root, "two")
    for client, takes_part in ((alice, True), (bob, True), (carol, False)):
        summary = bundle(client, room, root, "m.thread")
        assert summary["count"] == 2
        assert summary["latest_event"]["event_id"] == last
        assert summary["current_user_participated"] is takes_part


def test_the_latest_event_of_a_thread_carries_its_edit(alice):
    room = alice.create_room()
    root = alice.text(room, "root")
    last = alice.in_thread(room, root, "typo")
    edit = alice.edit(room, last, "fixed")
    summary = bundle(alice, room, root, "m.thread")
    assert summary["latest_event"]["event_id"] == last
    assert summary["latest_event"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit


def test_redacted_replies_leave_the_thread(alice):
    room = alice.create_room()
    root = alice.text(room, "root")
    first = alice.in_thread(room, root, "one")
    second = alice.in_thread(room, root, "two")
    alice.redact(room, second)
    summary = bundle(alice, room, root, "m.thread")
    assert (summary["count"], summary["latest_event"]["event_id"]) == (1, first)
    alice.redact(room, first)
    assert bundle(alice, room, root, "m.thread") is None


def test_threads_are_listed_by_their_latest_reply(alice, bob):
    """#get_matrixclientv1roomsroomidthreads"""
    room = alice.room_with(bob)
    roots = [alice.text(room, f"root {n}") for n in range(3)]
    bob.text(room, "no thread")
    for root in (roots[1], roots[0], roots[2]):
        bob.in_thread(room, root, "reply")
    bob.in_thread(room, roots[0], "again")
    answer = threads(alice, room)
    assert ids(answer["chunk"]) == [roots[0], roots[2], roots[1]]
    assert answer["chunk"][0]["unsigned"]["m.relations"]["m.thread"]["count"] == 2
    first = threads(alice, room, limit=2)
    rest = threads(alice, room, limit=2, **{"from": first["next_batch"]})
    assert ids(first["chunk"] + rest["chunk"]) == ids(answer["chunk"])


def test_threads_one_takes_part_in(alice, bob, carol):
    """`include=participated`: root or a reply is one's own."""
    room = alice.room_with(bob, carol)
    hers, his = alice.text(room, "hers"), bob.text(room, "his")
    bob.in_thread(room, hers, "x")
    bob.in_thread(room, his, "x")
    assert ids(threads(alice, room, include="participated")["chunk"]) == [hers]
    assert ids(threads(bob, room, include="participated")["chunk"]) == [his, hers]
    assert threads(carol, room, include="participated")["chunk"] == []
    # Synapse 1.163 answers the next one from a stale cache.
    alice.in_thread(room, his, "y")
    assert ids(threads(alice, room, include="participated")["chunk"]) == [his, hers]


def test_threads_do_not_nest(alice):
    """#threading: an event that is itself related cannot be a root."""
    room = alice.create_room()
    root = alice.text(room, "root")
    reply = alice.in_thread(room, root, "one")
    relation = {"rel_type": "m.thread", "event_id": reply}
    target = alice.room_call(room, "send", "m.room.message", "nested")
    answer = alice.raw("PUT", target, {"msgtype": "m.text", "body": "x", "m.relates_to": relation})
    assert answer.status == 400, answer
    assert ids(threads(alice, room)["chunk"]) == [root]


# -- everywhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["sync", "messages", "context", "relations", "threads", "event"])
def test_bundles_are_on_every_endpoint_that_must_carry_them(alice, where):
    """#aggregations-of-child-events lists the endpoints (/sync where `limited` is true)."""
    room = alice.create_room()
    root = alice.text(room, "root")
    reply = alice.in_thread(room, root, "reply")
    edit = alice.edit(room, root, "edited")
    edit_of_reply = alice.edit(room, reply, "edited reply")
    reads = {
        "sync": lambda: timeline(alice.sync(filter={"room": {"timeline": {"limit": 4}}}), room),
        "messages": lambda: alice.history(room),
        "context": lambda: [alice.get(alice.room_call(room, "context", root))["event"]],
        "relations": lambda: related(alice, room, root)["chunk"],
        "threads": lambda: threads(alice, room)["chunk"],
        "event": lambda: [alice.event(room, root)],
    }
    event, replacement = (reply, edit_of_reply) if where == "relations" else (root, edit)
    found = next(e for e in reads[where]() if e["event_id"] == event)
    relations = found["unsigned"]["m.relations"]
    assert relations["m.replace"]["event_id"] == replacement
    if event == root:
        assert relations["m.thread"]["count"] == 1


def test_replies_are_no_aggregation(alice):
    room = alice.create_room()
    event = alice.text(room, "x")
    reply = alice.text(room, "re", **{"m.relates_to": {"m.in_reply_to": {"event_id": event}}})
    assert alice.event(room, reply)["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == event
    assert of_type([alice.event(room, event)], "m.room.message")[0].get("unsigned", {}).get("m.relations") in (
        None,
        {},
    )
