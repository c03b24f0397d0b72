"""Spaces, room summaries, mutual rooms ("Spaces", "Room summaries", "Mutual rooms")."""

import pytest

from harness.client import V1, fresh
from harness.wire import path

UNSTABLE = "/_matrix/client/unstable"


def space(client, **options):
    options.setdefault("preset", "public_chat")
    return client.create_room(creation_content={"type": "m.space"}, **options)


def put(client, parent, child, **content):
    content.setdefault("via", [client.server_name])
    client.set_state(parent, "m.space.child", content, child)


def hierarchy(client, room, **query):
    return client.get(path(f"{V1}/rooms", room, "hierarchy"), **query)


def rooms(page):
    return [room["room_id"] for room in page["rooms"]]


@pytest.fixture
def tree(alice):
    """A space, a room first in it by `order`, a space below with a room, a room without `order`."""
    top, below = space(alice, name="Top"), space(alice)
    first, deep, last = (alice.create_room(preset="public_chat") for _ in range(3))
    put(alice, top, last)
    put(alice, top, below, order="b", suggested=True)
    put(alice, top, first, order="a", suggested=True)
    put(alice, below, deep)
    put(alice, below, top)
    return [top, first, below, deep, last]


def test_the_hierarchy_is_depth_first_in_order_and_without_loops(bob, tree):
    """#get_matrixclientv1roomsroomidhierarchy"""
    page = hierarchy(bob, tree[0])
    assert rooms(page) == tree
    assert "next_batch" not in page
    top = page["rooms"][0]
    assert (top["room_type"], top["name"], top["num_joined_members"]) == ("m.space", "Top", 1)
    assert top["world_readable"] is False and top["guest_can_join"] is False and top["room_version"]
    children = top["children_state"]
    assert [child["state_key"] for child in children] == [tree[1], tree[2], tree[4]]
    assert set(children[0]) == {"type", "state_key", "sender", "content", "origin_server_ts"}
    assert all(room["children_state"] == [] for room in page["rooms"] if room.get("room_type") != "m.space")


def test_the_hierarchy_is_narrowed_and_paged(bob, tree):
    assert rooms(hierarchy(bob, tree[0], max_depth=0)) == tree[:1]
    assert rooms(hierarchy(bob, tree[0], max_depth=1)) == [*tree[:3], tree[4]]
    assert rooms(hierarchy(bob, tree[0], suggested_only="true")) == tree[:3]
    read, token = [], {}
    while True:
        page = hierarchy(bob, tree[0], limit=2, **token)
        assert len(page["rooms"]) <= 2
        read += rooms(page)
        if "next_batch" not in page:
            break
        token = {"from": page["next_batch"]}
    assert read == tree
    first = hierarchy(bob, tree[0], limit=1)["next_batch"]
    for query in ({"from": first, "max_depth": 1}, {"from": first, "suggested_only": "true"}, {"from": "none"}):
        answer = bob.raw("GET", path(f"{V1}/rooms", tree[0], "hierarchy"), query=query)
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer


def test_the_hierarchy_leaves_out_what_one_may_not_know_of(alice, bob, tree):
    hidden = alice.create_room(preset="private_chat")
    put(alice, tree[0], hidden)
    assert rooms(hierarchy(bob, tree[0])) == tree
    assert hidden in rooms(hierarchy(alice, tree[0]))
    alice.invite(hidden, bob)
    assert hidden in rooms(hierarchy(bob, tree[0]))
    answer = bob.raw("GET", path(f"{V1}/rooms", alice.create_room(), "hierarchy"))
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


def test_a_restricted_child_is_shown_to_members_of_the_space(alice, bob, carol, tree):
    room = alice.create_room(preset="private_chat")
    allow = [{"type": "m.room_membership", "room_id": tree[0]}]
    alice.set_state(room, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    put(alice, tree[0], room)
    assert room not in rooms(hierarchy(bob, tree[0]))
    bob.join(tree[0])
    shown = {r["room_id"]: r for r in hierarchy(bob, tree[0])["rooms"]}
    assert shown[room]["allowed_room_ids"] == [tree[0]]
    assert shown[room]["join_rule"] == "restricted"
    assert room not in rooms(hierarchy(carol, tree[0]))


# -- summaries -----------------------------------------------------------------------------------------


def test_a_summary_is_told_to_anyone_who_may_join(alice, bob, nobody):
    """#get_matrixclientv1room_summaryroomidoralias"""
    name = fresh("sum")
    room = alice.create_room(preset="public_chat", name="Sum", room_alias_name=name)
    alias = f"#{name}:{alice.server_name}"
    alice.set_state(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    wanted = {"room_id": room, "name": "Sum", "num_joined_members": 1, "join_rule": "public"}
    for client, membership in ((alice, "join"), (bob, "leave"), (nobody, None)):
        for target in (
            path(f"{V1}/room_summary", alias),
            path(f"{V1}/room_summary", room),
            path(f"{UNSTABLE}/im.nheko.summary/rooms", alias, "summary"),
            path(f"{UNSTABLE}/im.nheko.summary/summary", room),
        ):
            summary = client.get(target, via="elsewhere.example")
            assert summary.items() >= wanted.items(), target
            assert summary.get("membership") == membership
            assert summary["encryption"] == "m.megolm.v1.aes-sha2" and summary["room_version"]


def test_there_is_no_summary_of_what_one_may_not_join(alice, bob, nobody):
    room = alice.create_room(preset="private_chat")
    for client in (bob, nobody):
        answer = client.raw("GET", path(f"{V1}/room_summary", room))
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer
    alice.invite(room, bob)
    assert bob.get(path(f"{V1}/room_summary", room))["membership"] == "invite"
    alice.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
    assert nobody.get(path(f"{V1}/room_summary", room))["join_rule"] == "knock"
    answer = bob.raw("GET", path(f"{V1}/room_summary", "#none:nowhere.example"))
    assert answer.status == 404


# -- mutual rooms --------------------------------------------------------------------------------------


def test_mutual_rooms_are_those_that_both_have_joined(alice, bob):
    """#get_matrixclientv1mutual_rooms"""
    shared = [alice.room_with(bob) for _ in range(2)]
    alice.create_room(bob)
    left = alice.room_with(bob)
    bob.leave(left)
    for target in (f"{V1}/mutual_rooms", f"{UNSTABLE}/uk.half-shot.msc2666/user/mutual_rooms"):
        found = alice.get(target, user_id=bob.user)
        assert (sorted(found["joined"]), found["count"]) == (sorted(shared), 2)
        assert "next_batch" not in found
    stranger = f"@{fresh('none')}:{alice.server_name}"
    assert alice.get(f"{V1}/mutual_rooms", user_id=stranger) == {"joined": [], "count": 0}


def test_mutual_rooms_refuse_what_is_no_question(alice, bob):
    for query, code in (
        ({}, "M_MISSING_PARAM"),
        ({"user_id": "nobody"}, "M_INVALID_PARAM"),
        ({"user_id": alice.user}, "M_INVALID_PARAM"),
        ({"user_id": bob.user, "from": "x"}, "M_INVALID_PARAM"),
    ):
        answer = alice.raw("GET", f"{V1}/mutual_rooms", query=query)
        assert (answer.status, answer.errcode) == (400, code), (query, answer)


def test_flags_tell_of_what_has_no_version(nobody):
    features = nobody.get("/_matrix/client/versions")["unstable_features"]
    assert features["uk.half-shot.msc2666.query_mutual_rooms"] is True
    assert features["org.matrix.msc3874"] is True
