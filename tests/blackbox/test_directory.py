"""Aliases and the published directory ("Room aliases", "Published room directory")."""

import pytest

from harness.client import V3, fresh
from harness.wire import path


def alias_of(client, name=None):
    return f"#{name or fresh('alias')}:{client.server_name}"


def place(alias):
    return path(f"{V3}/directory/room", alias)


def put(client, alias, room):
    return client.raw("PUT", place(alias), {"room_id": room})


def published(client, **query):
    return client.get(f"{V3}/publicRooms", **query)


def everything(client, **query):
    """Every page of the directory."""
    chunk, since = [], {}
    while True:
        answer = published(client, **query, **since)
        chunk += answer["chunk"]
        if "next_batch" not in answer:
            return chunk
        since = {"since": answer["next_batch"]}


def test_alias_can_be_made_resolved_and_deleted(alice, nobody):
    room, alias = alice.create_room(), alias_of(alice)
    assert put(alice, alias, room).status == 200
    answer = nobody.get(place(alias))
    assert answer["room_id"] == room
    assert alice.server_name in answer["servers"]
    assert alice.get(alice.room_call(room, "aliases")) == {"aliases": [alias]}
    alice.call("DELETE", place(alias))
    gone = nobody.raw("GET", place(alias))
    assert (gone.status, gone.errcode) == (404, "M_NOT_FOUND"), gone
    assert alice.get(alice.room_call(room, "aliases")) == {"aliases": []}


def test_alias_in_use_is_409(alice, bob):
    alias = alias_of(alice)
    assert put(alice, alias, alice.create_room()).status == 200
    answer = put(bob, alias, bob.create_room())
    assert answer.status == 409, answer


def test_alias_must_be_an_alias_of_this_server(alice):
    room = alice.create_room()
    for alias in ("#a:elsewhere.example", "noalias", "#nodomain"):
        assert put(alice, alias, room).status in (400, 403), alias


def test_only_its_maker_or_the_rooms_power_deletes_an_alias(alice, bob, carol):
    room, alias = alice.room_with(bob, carol), alias_of(alice)
    assert put(bob, alias, room).status == 200
    answer = carol.raw("DELETE", place(alias))
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    alice.call("DELETE", place(alias))
    assert put(bob, alias, room).status == 200
    bob.call("DELETE", place(alias))


def test_deleting_an_unknown_alias_is_not_found(alice):
    answer = alice.raw("DELETE", place(alias_of(alice)))
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_canonical_alias_must_point_here(alice):
    """#put_matrixclientv3roomsroomidstateeventtypestatekey: M_BAD_ALIAS, M_INVALID_PARAM."""
    room, alias = alice.create_room(), alias_of(alice)
    target = alice.room_call(room, "state", "m.room.canonical_alias")
    unknown = alice.raw("PUT", target, {"alias": alias})
    assert (unknown.status, unknown.errcode) == (400, "M_BAD_ALIAS"), unknown
    assert put(alice, alias, alice.create_room()).status == 200
    elsewhere = alice.raw("PUT", target, {"alt_aliases": [alias]})
    assert (elsewhere.status, elsewhere.errcode) == (400, "M_BAD_ALIAS"), elsewhere
    malformed = alice.raw("PUT", target, {"alias": "no alias"})
    assert (malformed.status, malformed.errcode) == (400, "M_INVALID_PARAM"), malformed
    good = alias_of(alice)
    put(alice, good, room)
    alice.set_state(room, "m.room.canonical_alias", {"alias": good})


def test_aliases_of_a_room_are_for_members(alice, bob):
    room = alice.create_room()
    answer = bob.raw("GET", bob.room_call(room, "aliases"))
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    visible = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    open_room = alice.create_room(initial_state=[visible])
    assert bob.get(bob.room_call(open_room, "aliases")) == {"aliases": []}


def test_directory_visibility(alice, bob, nobody):
    room = alice.room_with(bob, preset="public_chat")
    target = path(f"{V3}/directory/list/room", room)
    assert nobody.get(target) == {"visibility": "private"}
    answer = bob.raw("PUT", target, {"visibility": "public"})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    alice.call("PUT", target, {"visibility": "public"})
    assert nobody.get(target) == {"visibility": "public"}
    assert room in [r["room_id"] for r in everything(nobody)]
    alice.call("PUT", target, {"visibility": "private"})
    assert room not in [r["room_id"] for r in everything(nobody)]
    unknown = nobody.raw("GET", path(f"{V3}/directory/list/room", "!nosuch:x"))
    assert (unknown.status, unknown.errcode) == (404, "M_NOT_FOUND"), unknown


def test_published_room_is_described(alice, bob, nobody):
    name = fresh("alias")
    room = alice.create_room(
        visibility="public",
        name="The Pub",
        topic="Ale",
        room_alias_name=name,
        creation_content={"type": "m.space"},
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
            {"type": "m.room.avatar", "content": {"url": "mxc://example.org/pub"}},
        ],
    )
    bob.join(room)
    found = next(r for r in everything(nobody) if r["room_id"] == room)
    wanted = {
        "name": "The Pub",
        "topic": "Ale",
        "canonical_alias": f"#{name}:{alice.server_name}",
        "num_joined_members": 2,
        "world_readable": True,
        "guest_can_join": True,
        "avatar_url": "mxc://example.org/pub",
        "join_rule": "public",
        "room_type": "m.space",
    }
    # "When not present, the room is assumed to be public."
    found.setdefault("join_rule", "public")
    assert {key: found.get(key) for key in wanted} == wanted


def test_directory_is_paged(alice, nobody):
    rooms = {alice.create_room(visibility="public") for _ in range(5)}
    seen = [r["room_id"] for r in everything(nobody, limit=2)]
    assert rooms <= set(seen)
    assert len(seen) == len(set(seen))
    first = published(nobody, limit=2)
    assert len(first["chunk"]) == 2
    assert first.get("total_room_count_estimate", 5) >= 5


def test_directory_can_be_searched(alice):
    word = fresh("needle")
    by_name = alice.create_room(visibility="public", name=f"The {word.upper()} room")
    by_topic = alice.create_room(visibility="public", topic=f"about {word}s")
    by_alias = alice.create_room(visibility="public", room_alias_name=f"{word}-alias")
    alice.create_room(visibility="public", name="hay")
    alice.create_room(name=word)
    body = {"filter": {"generic_search_term": word}}
    answer = alice.call("POST", f"{V3}/publicRooms", body)
    assert {r["room_id"] for r in answer["chunk"]} == {by_name, by_topic, by_alias}


@pytest.mark.parametrize("room_types", [["m.space"], [None], ["m.space", None], ["org.example.other"]])
def test_directory_filters_by_room_type(alice, room_types):
    word = fresh("typed")
    space = alice.create_room(visibility="public", name=word, creation_content={"type": "m.space"})
    plain = alice.create_room(visibility="public", name=word)
    body = {"filter": {"generic_search_term": word, "room_types": room_types}}
    chunk = alice.call("POST", f"{V3}/publicRooms", body)["chunk"]
    kinds = {"m.space": space, None: plain}
    assert {r["room_id"] for r in chunk} == {kinds[t] for t in room_types if t in kinds}


def test_searching_needs_a_session(nobody):
    answer = nobody.raw("POST", f"{V3}/publicRooms", {})
    assert answer.status == 401, answer


def test_the_directory_shows_rooms_as_they_are_now(alice, bob):
    word = fresh("now")
    room = alice.create_room(visibility="public", name=f"{word} before")
    search = {"filter": {"generic_search_term": word}}

    def found():
        return alice.call("POST", f"{V3}/publicRooms", search)["chunk"]

    assert [r["name"] for r in found()] == [f"{word} before"]
    renamed = alice.set_state(room, "m.room.name", {"name": f"{word} after"})
    assert [(r["name"], r["num_joined_members"]) for r in found()] == [(f"{word} after", 1)]
    bob.join(room)
    assert found()[0]["num_joined_members"] == 2
    alice.redact(room, renamed)
    assert found() == []


def test_a_rich_topic_is_listed_in_plain_text_and_found(alice):
    """#mroomtopic: `m.topic`."""
    word = fresh("rich")
    forms = [{"mimetype": "text/html", "body": f"<b>{word}</b>"}, {"body": f"plain {word}"}]
    topic = {"type": "m.room.topic", "content": {"topic": "old", "m.topic": {"m.text": forms}}}
    room = alice.create_room(visibility="public", initial_state=[topic])
    chunk = alice.call("POST", f"{V3}/publicRooms", {"filter": {"generic_search_term": word}})["chunk"]
    assert [(r["room_id"], r["topic"]) for r in chunk] == [(room, f"plain {word}")]


def test_networks_of_bridges_are_asked_for_by_name(alice):
    room = alice.create_room(visibility="public")
    everywhere = alice.call("POST", f"{V3}/publicRooms", {"include_all_networks": True, "limit": 500})
    assert room in [r["room_id"] for r in everywhere["chunk"]]
    of_none = alice.call("POST", f"{V3}/publicRooms", {"third_party_instance_id": "no-such-network"})
    assert of_none["chunk"] == []
