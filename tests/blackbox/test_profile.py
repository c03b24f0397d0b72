"""Profiles, with custom fields (v1.16)."""

import pytest

from harness.client import V3, joined, of_type
from harness.wire import path

TZ = "m.tz"
CUSTOM = "org.example.field"


def profile(user, *key):
    return path(f"{V3}/profile", user, *key)


def put(client, key, value, user=None):
    return client.raw("PUT", profile(user or client.user, key), {key: value})


def test_displayname_and_avatar_are_readable_without_a_session(alice, nobody):
    assert put(alice, "displayname", "Alice 🦊").status == 200
    assert put(alice, "avatar_url", "mxc://example.org/abc").status == 200
    assert nobody.get(profile(alice.user, "displayname")) == {"displayname": "Alice 🦊"}
    assert nobody.get(profile(alice.user, "avatar_url")) == {"avatar_url": "mxc://example.org/abc"}
    whole = nobody.get(profile(alice.user))
    assert (whole["displayname"], whole["avatar_url"]) == ("Alice 🦊", "mxc://example.org/abc")


def test_only_the_owner_writes(alice, bob, nobody):
    answer = put(bob, "displayname", "Mallory", alice.user)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer  # Synapse 1.163: 400
    assert put(nobody, "displayname", "Mallory", alice.user).errcode == "M_MISSING_TOKEN"


def test_unknown_user_and_unset_field_are_not_found(alice, nobody):
    for target in (profile(f"@nosuch:{alice.server_name}"), profile(alice.user, CUSTOM)):
        answer = nobody.raw("GET", target)
        # Synapse 1.163 has M_UNKNOWN for the user.
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


@pytest.mark.parametrize("value", ["text", {"deep": [1, {"a": None}]}, ["list"], 5, True])
def test_custom_fields_hold_any_json(alice, nobody, value):
    """#put_matrixclientv3profileuseridkeyname: custom fields, v1.16."""
    assert put(alice, CUSTOM, value).status == 200
    assert nobody.get(profile(alice.user, CUSTOM)) == {CUSTOM: value}
    assert nobody.get(profile(alice.user))[CUSTOM] == value


def test_fields_can_be_deleted(alice, nobody):
    """#delete_matrixclientv3profileuseridkeyname: idempotent."""
    put(alice, CUSTOM, 1)
    put(alice, "displayname", "Alice")
    put(alice, "avatar_url", "mxc://example.org/abc")
    for key in (CUSTOM, CUSTOM, "displayname"):
        assert alice.raw("DELETE", profile(alice.user, key)).status == 200
    whole = nobody.get(profile(alice.user))
    assert CUSTOM not in whole
    assert not whole.get("displayname")


def test_key_that_is_too_long_is_key_too_large(alice):
    """M_KEY_TOO_LARGE: over 255 bytes."""
    answer = put(alice, "org.example." + "x" * 250, 1)
    assert (answer.status, answer.errcode) == (400, "M_KEY_TOO_LARGE"), answer


def test_profile_that_is_too_large_is_profile_too_large(alice):
    """M_PROFILE_TOO_LARGE: over 64 KiB in all."""
    assert put(alice, "org.example.a", "x" * 40_000).status == 200
    answer = put(alice, "org.example.b", "x" * 40_000)
    assert (answer.status, answer.errcode) == (400, "M_PROFILE_TOO_LARGE"), answer
    assert put(alice, "org.example.a", "small").status == 200
    assert put(alice, "org.example.b", "x" * 40_000).status == 200


def test_body_must_hold_the_key(alice):
    answer = alice.raw("PUT", profile(alice.user, "displayname"), {"other": "x"})
    assert answer.status == 400, answer
    assert answer.errcode in ("M_MISSING_PARAM", "M_BAD_JSON"), answer


def test_displayname_must_be_a_string(alice):
    answer = put(alice, "displayname", {"not": "a string"})
    assert answer.status == 400, answer


def test_profile_change_reaches_the_rooms(alice, bob):
    """#events-on-change-of-profile-information: a new m.room.member in every joined room."""
    rooms = [alice.room_with(bob), bob.room_with(alice)]
    bob.sync()
    put(alice, "displayname", "Alice of the rooms")
    seen: dict[str, dict] = {}

    def all_rooms_told(answer):
        for room in rooms:
            for event in of_type(joined(answer, room).get("timeline", {}).get("events", []), "m.room.member"):
                seen[room] = event
        return len(seen) == len(rooms)

    bob.sync_until(all_rooms_told)
    for room in rooms:
        assert seen[room]["content"]["displayname"] == "Alice of the rooms"
        assert seen[room]["content"]["membership"] == "join"
        assert bob.get(bob.room_call(room, "joined_members"))["joined"][alice.user]["display_name"] == (
            "Alice of the rooms"
        )


def test_members_carry_the_profile_when_they_join(alice, bob):
    put(alice, "displayname", "Alice")
    put(alice, "avatar_url", "mxc://example.org/abc")
    room = bob.room_with(alice)
    content = bob.state(room, "m.room.member", alice.user)
    assert (content["displayname"], content["avatar_url"]) == ("Alice", "mxc://example.org/abc")
