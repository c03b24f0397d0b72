"""Finding messages and people (spec: Client-Server API, "Server Side Search" and "User Directory")."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from harness.client import V3, Client, fresh, ids


def search(who: Client, term: str, next_batch: str | None = None, **criteria: Any) -> Any:
    body = {"search_categories": {"room_events": {"search_term": term, **criteria}}}
    query = {"next_batch": next_batch} if next_batch else {}
    return who.call("POST", f"{V3}/search", body, query=query)["search_categories"]["room_events"]


def found(who: Client, term: str, **criteria: Any) -> list[str]:
    return ids([one["result"] for one in search(who, term, **criteria)["results"]])


def people(who: Client, term: str, **more: Any) -> list[str]:
    answer = who.call("POST", f"{V3}/user_directory/search", {"search_term": term, **more})
    return [one["user_id"] for one in answer["results"]]


def test_what_was_acknowledged_is_found(alice: Client) -> None:
    room, word = alice.create_room(), fresh("needle")
    event = alice.text(room, f"A {word.upper()}, in the haystack")
    answer = search(alice, word)
    assert answer["count"] == 1
    assert answer["results"][0]["result"]["event_id"] == event
    assert answer["results"][0]["result"]["room_id"] == room
    assert answer["highlights"]


def test_newest_first_and_page_by_page(alice: Client) -> None:
    room, word = alice.create_room(), fresh("page").replace("-", "x")
    sent = [alice.text(room, f"{word} {n}") for n in range(7)]
    seen: list[str] = []
    token = None
    while True:
        page = search(alice, word, token, order_by="recent", filter={"limit": 3})
        seen += ids([one["result"] for one in page["results"]])
        token = page.get("next_batch")
        if token is None:
            break
    assert seen == sent[::-1]


def test_the_best_fit_comes_first(alice: Client) -> None:
    room, word = alice.create_room(), fresh("rank").replace("-", "x")
    best = alice.text(room, f"{word} {word} {word}")
    alice.text(room, f"{word} among very many other words that have nothing to do with anything at all")
    assert found(alice, word, order_by="rank")[0] == best


def test_context_state_and_groups(alice: Client, bob: Client) -> None:
    room, word = alice.room_with(bob, name="Searched"), fresh("ctx").replace("-", "x")
    before = alice.text(room, "before")
    event = bob.text(room, word)
    after = alice.text(room, "after")
    answer = search(
        alice, word, include_state=True, event_context={"before_limit": 1, "after_limit": 1, "include_profile": True},
        groupings={"group_by": [{"key": "room_id"}, {"key": "sender"}]},
    )  # fmt: skip
    context = answer["results"][0]["context"]
    assert ids(context["events_before"]) == [before] and ids(context["events_after"]) == [after]
    assert bob.user in context["profile_info"] and context["start"] and context["end"]
    assert answer["groups"]["room_id"][room]["results"] == [event]
    assert answer["groups"]["sender"][bob.user]["results"] == [event]
    assert any(e["type"] == "m.room.name" for e in answer["state"][room])


def test_only_what_one_may_see_is_found(alice: Client, bob: Client, carol: Client) -> None:
    word = fresh("secret").replace("-", "x")
    room = alice.room_with(bob, initial_state=[
        {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}])  # fmt: skip
    early = alice.text(room, f"{word} early")
    bob.leave(room)
    alice.text(room, f"{word} late")
    assert found(bob, word) == [early]
    assert found(carol, word) == []
    carol_joins = alice.room_with(carol)
    alice.text(carol_joins, word)
    assert len(found(carol, word)) == 1
    bob.forget(room)
    assert found(bob, word) == []


def test_edits_and_redactions_are_followed(alice: Client) -> None:
    room, old, new = alice.create_room(), fresh("old").replace("-", "x"), fresh("new").replace("-", "x")
    event = alice.text(room, old)
    alice.edit(room, event, new)
    assert found(alice, new) == [event] and found(alice, old) == []
    alice.redact(room, event)
    assert found(alice, new) == []


def test_names_topics_and_filters(alice: Client, bob: Client) -> None:
    word = fresh("topic").replace("-", "x")
    room = alice.room_with(bob, topic=word)
    alice.text(room, word)
    mine = bob.text(room, word)
    assert len(found(alice, word)) == 3
    assert len(found(alice, word, keys=["content.topic"])) == 1
    assert found(alice, word, filter={"senders": [bob.user]}) == [mine]
    assert found(alice, word, filter={"rooms": ["!elsewhere:x"]}) == []
    assert found(alice, word, filter={"types": ["m.room.message"], "not_senders": [alice.user]}) == [mine]


def test_ignored_users_are_not_found(alice: Client, bob: Client) -> None:
    room, word = alice.room_with(bob), fresh("ignored").replace("-", "x")
    bob.text(room, word)
    ignored = {"ignored_users": {bob.user: {}}}
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), ignored)
    assert found(alice, word) == []


@pytest.mark.parametrize("category", [{"order_by": "odd"}, {"search_term": 5}, {"filter": 3}])
def test_a_bad_search_is_refused(alice: Client, category: dict[str, Any]) -> None:
    body = {"search_categories": {"room_events": {"search_term": "x", **category}}}
    assert alice.raw("POST", f"{V3}/search", body).status == 400


def test_the_index_survives_a_kill(make_server: Callable[..., Any]) -> None:
    server = make_server()
    alice = Client.register(server)
    room = alice.create_room()
    first = alice.text(room, "survivor one")
    assert found(alice, "survivor") == [first]
    second = alice.text(room, "survivor two")
    server.kill9()
    server.start()
    assert found(alice, "survivor", order_by="recent") == [second, first]


def test_people_are_found_without_accents_by_those_who_share_a_room(alice: Client, bob: Client, carol: Client) -> None:
    name = fresh("Zoé").replace("-", "x")
    bob.call("PUT", f"{V3}/profile/{bob.user}/displayname", {"displayname": f"{name} Österberg"})
    plain = name.replace("é", "e").lower()
    assert people(carol, plain) == []
    alice.room_with(bob)

    poll(lambda: people(alice, f"oster {plain}") == [bob.user])
    poll(lambda: people(alice, plain[:-1]) == [bob.user])
    assert people(carol, plain) == []
    bob.create_room(preset="public_chat")
    poll(lambda: people(carol, plain) == [bob.user])
    assert people(carol, bob.localpart) == [bob.user]


def poll(holds: Callable[[], bool]) -> None:
    """Until a follower has come to it."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_directory_answer_is_limited(alice: Client, new_user: Callable[..., Client]) -> None:
    prefix = fresh("crowd").replace("-", "x")
    for n in range(3):
        new_user(name=f"{prefix}{n}").create_room(preset="public_chat")
    poll(lambda: len(people(alice, prefix)) == 3)
    answer = alice.call("POST", f"{V3}/user_directory/search", {"search_term": prefix, "limit": 2})
    assert len(answer["results"]) == 2 and answer["limited"] is True
