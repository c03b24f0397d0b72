"""Account data, tags, filters, OpenID tokens."""

import pytest

from harness.client import V3, joined
from harness.wire import path

KIND = "org.example.settings"


def test_global_account_data_is_stored_and_synced(alice):
    """#client-config"""
    alice.sync()
    target = alice.account_data("account_data", KIND)
    alice.call("PUT", target, {"theme": "dark"})
    assert alice.get(target) == {"theme": "dark"}
    events = alice.sync_until(lambda a: a.get("account_data", {}).get("events"))
    assert {"type": KIND, "content": {"theme": "dark"}} in events
    alice.call("PUT", target, {"theme": "light"})
    assert alice.get(target) == {"theme": "light"}
    first = alice.sync(since=None, advance=False)["account_data"]["events"]
    assert [e["content"] for e in first if e["type"] == KIND] == [{"theme": "light"}]


def test_room_account_data_is_stored_and_synced(alice, bob):
    room = alice.room_with(bob)
    alice.sync()
    bob.sync()
    target = alice.account_data("rooms", room, "account_data", KIND)
    alice.call("PUT", target, {"muted": True})
    assert alice.get(target) == {"muted": True}
    events = alice.sync_until(lambda a: joined(a, room).get("account_data", {}).get("events"))
    assert events == [{"type": KIND, "content": {"muted": True}}]
    assert joined(bob.sync(), room).get("account_data", {}).get("events", []) == []


def test_absent_account_data_is_not_found(alice):
    room = alice.create_room()
    for target in (alice.account_data("account_data", KIND), alice.account_data("rooms", room, "account_data", KIND)):
        answer = alice.raw("GET", target)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_account_data_of_others_is_forbidden(alice, bob):
    target = bob.account_data("account_data", KIND)
    for answer in (alice.raw("GET", target), alice.raw("PUT", target, {})):
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


@pytest.mark.parametrize("kind", ["m.fully_read", "m.push_rules"])
def test_account_data_that_the_server_manages_is_405(alice, kind):
    """#server-behaviour-7: 405, M_BAD_JSON."""
    room = alice.create_room()
    targets = [alice.account_data("rooms", room, "account_data", kind)]
    if kind == "m.push_rules":
        targets = [alice.account_data("account_data", kind)]
    for target in targets:
        answer = alice.raw("PUT", target, {})
        assert (answer.status, answer.errcode) == (405, "M_BAD_JSON"), answer


def test_account_data_must_be_an_object(alice):
    for body in (b"[]", b"5", b'"x"'):
        answer = alice.raw("PUT", alice.account_data("account_data", KIND), data=body)
        assert (answer.status, answer.errcode) == (400, "M_BAD_JSON"), answer
    answer = alice.raw("PUT", alice.account_data("account_data", KIND), data=b"{")
    assert (answer.status, answer.errcode) == (400, "M_NOT_JSON"), answer


def test_tags(alice):
    """#room-tagging: stored under the room, synced as m.tag."""
    room = alice.create_room()
    alice.sync()
    place = alice.account_data("rooms", room, "tags")
    assert alice.get(place) == {"tags": {}}
    alice.call("PUT", path(place, "m.favourite"), {"order": 0.25})
    alice.call("PUT", path(place, "u.ürlaub / 2"), {})
    assert alice.get(place) == {"tags": {"m.favourite": {"order": 0.25}, "u.ürlaub / 2": {}}}
    events = alice.sync_until(lambda a: joined(a, room).get("account_data", {}).get("events"))
    assert events == [{"type": "m.tag", "content": alice.get(place)}]
    alice.call("DELETE", path(place, "m.favourite"))
    alice.call("DELETE", path(place, "m.favourite"))
    assert alice.get(place) == {"tags": {"u.ürlaub / 2": {}}}
    events = alice.sync_until(lambda a: joined(a, room).get("account_data", {}).get("events"))
    assert events == [{"type": "m.tag", "content": {"tags": {"u.ürlaub / 2": {}}}}]


def test_tags_of_others_are_forbidden(alice, bob):
    room = alice.room_with(bob)
    place = bob.account_data("rooms", room, "tags")
    for answer in (alice.raw("GET", place), alice.raw("PUT", path(place, "u.x"), {})):
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


def test_filters_are_stored(alice):
    """#filtering: the id may not begin with `{`."""
    wanted = {"room": {"timeline": {"limit": 3, "types": ["m.room.message"]}}, "event_fields": ["type"]}
    created = alice.call("POST", alice.account_data("filter"), wanted)["filter_id"]
    assert not created.startswith("{")
    read = alice.get(alice.account_data("filter", created))
    assert read["room"]["timeline"]["limit"] == 3
    assert read["room"]["timeline"]["types"] == ["m.room.message"]


def test_unknown_filter_is_not_found(alice):
    answer = alice.raw("GET", alice.account_data("filter", "987654321"))
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_filters_of_others_are_forbidden(alice, bob):
    answer = alice.raw("POST", bob.account_data("filter"), {})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


@pytest.mark.parametrize("bad", [{"room": 5}, {"room": {"timeline": {"limit": "many"}}}, {"presence": []}])
def test_malformed_filter_is_400(alice, bad):
    answer = alice.raw("POST", alice.account_data("filter"), bad)
    assert answer.status == 400, answer  # Synapse 1.163 falls over the first two with a 500


def test_openid_token(alice, bob):
    """#openid"""
    answer = alice.call("POST", alice.account_data("openid", "request_token"), {})
    assert answer["access_token"] != alice.token
    assert answer["token_type"] == "Bearer"
    assert answer["matrix_server_name"] == alice.server_name
    assert answer["expires_in"] > 0
    assert alice.raw("GET", f"{V3}/account/whoami", token=answer["access_token"]).status == 401
    foreign = alice.raw("POST", bob.account_data("openid", "request_token"), {})
    assert (foreign.status, foreign.errcode) == (403, "M_FORBIDDEN"), foreign
