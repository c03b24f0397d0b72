"""Replacing a room by one of another version ("Room Upgrades")."""

import pytest

from harness.client import V3, fresh
from harness.wire import path


def upgrade(client, room, version, **body):
    return client.raw("POST", client.room_call(room, "upgrade"), {"new_version": version, **body})


@pytest.mark.parametrize("versions", [("11", "12"), ("12", "12"), ("10", "11")])
def test_the_new_room_has_what_describes_the_old_one(alice, bob, versions):
    old_version, new_version = versions
    name = fresh("alias")
    alias = f"#{name}:{alice.server_name}"
    old = alice.room_with(
        bob,
        room_version=old_version,
        name="Room",
        topic="About",
        room_alias_name=name,
        visibility="public",
        initial_state=[
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "m.room.server_acl", "content": {"allow": ["*"], "deny": ["evil.example"]}},
        ],
        power_level_content_override={"events": {"org.example": 7}, "events_default": 3},
    )
    last = alice.text(old, "last")
    answer = upgrade(alice, old, new_version)
    assert answer.status == 200, answer
    new = answer.json["replacement_room"]
    before, after = alice.full_state(old), alice.full_state(new)
    create = after["m.room.create", ""]["content"]
    assert (create["room_version"], create["predecessor"]["room_id"]) == (new_version, old)
    if new_version != "12":
        assert create["predecessor"]["event_id"] == last
    for kind in ("name", "topic", "encryption", "server_acl", "join_rules", "history_visibility", "guest_access"):
        key = (f"m.room.{kind}", "")
        assert after[key]["content"] == before[key]["content"], kind
    levels = after["m.room.power_levels", ""]["content"]
    assert (levels["events"]["org.example"], levels["events_default"]) == (7, 3)
    assert before["m.room.tombstone", ""]["content"]["replacement_room"] == new
    assert alice.get(path(f"{V3}/directory/room", alias))["room_id"] == new
    assert after["m.room.canonical_alias", ""]["content"]["alias"] == alias
    assert ("m.room.member", bob.user) not in after
    # "the power levels in the old room should also be modified"
    said = bob.raw("PUT", bob.room_call(old, "send", "m.room.message", fresh("t")), {"body": "x"})
    assert (said.status, said.errcode) == (403, "M_FORBIDDEN"), said
    silenced = before["m.room.power_levels", ""]["content"]
    assert silenced["events_default"] >= 50 and silenced["invite"] >= 50


def test_an_announcement_room_is_not_opened_by_its_end(alice):
    old = alice.create_room(power_level_content_override={"events_default": 99, "invite": 98})
    assert upgrade(alice, old, "12").status == 200
    levels = alice.state(old, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (99, 98)


def test_who_is_banned_stays_banned(alice, bob):
    old = alice.room_with(bob, preset="public_chat")
    assert alice.member("ban", old, bob, reason="spam").status == 200
    new = upgrade(alice, old, "12").json["replacement_room"]
    ban = alice.state(new, "m.room.member", bob.user)
    assert (ban["membership"], ban["reason"]) == ("ban", "spam")
    answer = bob.raw("POST", path(f"{V3}/join", new), {})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


def test_a_space_keeps_its_rooms(alice):
    space = alice.create_room(creation_content={"type": "m.space"})
    inner, removed = alice.create_room(), alice.create_room()
    alice.set_state(space, "m.space.child", {"via": [alice.server_name]}, inner)
    alice.set_state(space, "m.space.child", {}, removed)
    new = upgrade(alice, space, "12").json["replacement_room"]
    state = alice.full_state(new)
    assert state["m.room.create", ""]["content"]["type"] == "m.space"
    assert ("m.space.child", inner) in state and ("m.space.child", removed) not in state


def test_additional_creators_come_from_the_request_only(alice, bob):
    old = alice.create_room(creation_content={"additional_creators": [bob.user]})
    new = upgrade(alice, old, "12").json["replacement_room"]
    assert "additional_creators" not in alice.state(new, "m.room.create")
    newer = upgrade(alice, new, "12", additional_creators=[bob.user]).json["replacement_room"]
    assert alice.state(newer, "m.room.create")["additional_creators"] == [bob.user]
    old_kind = upgrade(alice, newer, "11", additional_creators=[bob.user]).json["replacement_room"]
    assert "additional_creators" not in alice.state(old_kind, "m.room.create")


def test_who_may_not_close_a_room_does_not_upgrade_it(alice, bob):
    old = alice.room_with(bob)
    answer = upgrade(bob, old, "12")
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    answer = upgrade(alice, old, "no-such-version")
    assert (answer.status, answer.errcode) == (400, "M_UNSUPPORTED_ROOM_VERSION"), answer


def keep(client, room):
    """A tag, a muted room, and a direct chat."""
    client.call("PUT", path(client.account_data("rooms", room, "tags"), "m.favourite"), {"order": 0.3})
    target = path(f"{V3}/pushrules/global/override", room)
    here = {"kind": "event_match", "key": "room_id", "pattern": room}
    client.call("PUT", target, {"actions": [], "conditions": [here]})
    client.call("PUT", path(f"{V3}/pushrules/global/room", room), {"actions": ["notify"]})
    client.call("PUT", client.account_data("account_data", "m.direct"), {"@x:example.org": [room]})


def kept(client, room):
    tags = client.get(client.account_data("rooms", room, "tags"))["tags"]
    rules = client.get(f"{V3}/pushrules/")["global"]
    muted = [r for r in rules["override"] if r["rule_id"] == room]
    asked = muted[0]["conditions"][0].get("pattern") if muted else None
    direct = client.get(client.account_data("account_data", "m.direct"))["@x:example.org"]
    in_room = [r["rule_id"] for r in rules.get("room", []) if r["rule_id"] == room]
    return "m.favourite" in tags and asked == room and room in direct and in_room == [room]


def test_what_members_keep_for_a_room_follows_them(alice, bob):
    """#room-upgrades: "the server should automatically transfer/replicate some of the user's personalized settings"."""
    old = alice.room_with(bob, preset="public_chat")
    for member in (alice, bob):
        keep(member, old)
        member.sync()
    new = upgrade(alice, old, "12").json["replacement_room"]
    bob.join(new)
    for member in (alice, bob):
        member.sync_until(lambda _, member=member: kept(member, new))


def test_a_room_that_only_claims_to_replace_another_gets_nothing(alice, bob):
    old = alice.room_with(bob, preset="public_chat")
    keep(bob, old)
    claim = {"predecessor": {"room_id": old, "event_id": "$none"}}
    false = alice.create_room(preset="public_chat", creation_content=claim)
    bob.join(false)
    # What comes after in the log has been seen, so this has been, too.
    new = upgrade(alice, old, "12").json["replacement_room"]
    bob.join(new)
    bob.sync_until(lambda _: kept(bob, new))
    assert bob.get(bob.account_data("rooms", false, "tags")) == {"tags": {}}
