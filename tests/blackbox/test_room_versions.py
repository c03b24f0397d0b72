"""Rooms of every version, 1 to 12 (Room Versions): made, used, upgraded, and there after a restart."""

import re

import pytest

from harness.client import V1, V3, Client, fresh, ids, joined, of_type, timeline
from harness.wire import path

VERSIONS = [str(number) for number in range(1, 13)]
every_version = pytest.mark.parametrize("version", VERSIONS)


def since(first):
    """Whether a version has what this one brought."""
    return lambda version: int(version) >= first


has_knocking, has_restricted, has_knock_restricted = since(7), since(8), since(10)
has_integer_levels, is_strict, has_no_creator, has_named_rooms = since(10), since(6), since(11), since(12)


def refusal(answer):
    return answer.status, answer.json.get("errcode")


def public(client, version, **options):
    return client.create_room(preset="public_chat", room_version=version, **options)


def with_rule(client, version, rule, **content):
    event = {"type": "m.room.join_rules", "content": {"join_rule": rule, **content}}
    return client.create_room(room_version=version, initial_state=[event])


def id_of(version, server_name):
    """rooms/v1, v3 and v4, Event IDs."""
    if version in ("1", "2"):
        return re.compile(rf"\$[^:]+:{re.escape(server_name)}")
    alphabet = "A-Za-z0-9+/" if version == "3" else "A-Za-z0-9_-"
    return re.compile(rf"\$[{alphabet}]{{43}}")


def test_all_versions_are_advertised_as_stable(alice):
    versions = alice.get(f"{V3}/capabilities")["capabilities"]["m.room_versions"]
    assert versions == {"default": "12", "available": dict.fromkeys(VERSIONS, "stable")}


def test_a_version_that_nobody_knows_is_refused(alice):
    answer = alice.raw("POST", f"{V3}/createRoom", {"room_version": "13"})
    assert refusal(answer) == (400, "M_UNSUPPORTED_ROOM_VERSION")
    answer = alice.raw("POST", alice.room_call(alice.create_room(), "upgrade"), {"new_version": "13"})
    assert refusal(answer) == (400, "M_UNSUPPORTED_ROOM_VERSION")


@every_version
def test_a_room_is_made_as_its_version_wants_it(alice, bob, version):
    room = alice.create_room(bob, preset="trusted_private_chat", room_version=version)
    create = alice.full_state(room)["m.room.create", ""]
    assert create["content"]["room_version"] == version
    assert create["content"].get("creator") == (None if has_no_creator(version) else alice.user)
    levels = alice.state(room, "m.room.power_levels")
    if has_named_rooms(version):
        assert room[1:] == create["event_id"][1:]
        assert (create["content"]["additional_creators"], levels["users"]) == ([bob.user], {})
        assert levels["events"]["m.room.tombstone"] > levels["state_default"]
    else:
        assert room.endswith(f":{alice.server_name}")
        assert levels["users"] == {alice.user: 100, bob.user: 100}
        assert "additional_creators" not in create["content"]
    for event in alice.history(room):
        assert id_of(version, alice.server_name).fullmatch(event["event_id"]), event


@every_version
def test_people_come_talk_and_go(alice, bob, carol, version):
    room = alice.room_with(bob, room_version=version)
    carol.raw("POST", path(f"{V3}/join", room))
    assert alice.membership(room, carol.user) is None, "a private room"
    alice.sync()
    said = bob.text(room, "hello")
    assert said in ids(timeline(alice.sync(), room))
    assert bob.event(room, said)["content"]["body"] == "hello"
    assert alice.get(alice.room_call(room, "context", said))["event"]["event_id"] == said
    reaction = alice.react(room, said)
    relations = alice.get(path(f"{V1}/rooms", room, "relations", said))
    assert ids(relations["chunk"]) == [reaction]
    alice.receipt(room, said)
    assert refusal(bob.member("kick", room, alice)) == (403, "M_FORBIDDEN")
    assert alice.member("kick", room, bob, reason="enough").status == 200
    assert alice.membership(room, bob.user) == "leave"
    assert alice.member("ban", room, bob).status == 200
    assert refusal(alice.member("invite", room, bob)) == (403, "M_FORBIDDEN")
    assert alice.member("unban", room, bob).status == 200
    alice.invite(room, bob)
    bob.join(room)
    bob.leave(room)
    assert alice.membership(room, bob.user) == "leave"


@every_version
@pytest.mark.parametrize("route", ["redact", "send"])
def test_a_redaction_shows_redacts_in_both_places(alice, bob, version, route):
    """rooms/v11, "Moving the `redacts` property"; client-server-api 1.18, redactions through /send."""
    room = alice.room_with(bob, room_version=version)
    alice.sync()
    bob.sync()
    said = bob.text(room, "secret")
    if route == "redact":
        by = bob.redact(room, said, reason="oops")
    else:
        by = bob.send(room, "m.room.redaction", {"redacts": said, "reason": "oops"})
    for shown in (alice.event(room, by), *of_type(timeline(alice.sync(), room), "m.room.redaction")):
        assert (shown["event_id"], shown["redacts"]) == (by, said)
        assert shown["content"] == {"redacts": said, "reason": "oops"}
    target = alice.event(room, said)
    assert target["content"] == {}
    assert target["unsigned"]["redacted_because"]["event_id"] == by
    theirs = alice.text(room, "not yours")
    answer = bob.raw("PUT", bob.room_call(room, "redact", theirs, fresh("t")), {})
    assert refusal(answer) == (403, "M_FORBIDDEN")
    assert alice.event(room, theirs)["content"]["body"] == "not yours"


@every_version
def test_power_levels_guard(alice, bob, version):
    room = alice.room_with(bob, room_version=version)
    topic = {"topic": "T"}
    answer = bob.raw("PUT", bob.room_call(room, "state", "m.room.topic", ""), topic)
    assert refusal(answer) == (403, "M_FORBIDDEN")
    levels = alice.state(room, "m.room.power_levels")
    levels["users"][bob.user] = 50
    alice.set_state(room, "m.room.power_levels", levels)
    bob.set_state(room, "m.room.topic", topic)
    raised = {**levels, "users": {**levels["users"], bob.user: 51}}
    answer = bob.raw("PUT", bob.room_call(room, "state", "m.room.power_levels", ""), raised)
    assert refusal(answer) == (403, "M_FORBIDDEN")
    text = {**levels, "users": {**levels["users"], bob.user: "60"}}
    answer = alice.raw("PUT", alice.room_call(room, "state", "m.room.power_levels", ""), text)
    assert answer.status == (403 if has_integer_levels(version) else 200), "rooms/v10: levels are integers"
    of_creator = {**levels, "users": {**levels["users"], alice.user: 100}}
    answer = alice.raw("PUT", alice.room_call(room, "state", "m.room.power_levels", ""), of_creator)
    assert answer.status == (403 if has_named_rooms(version) else 200), "rooms/v12, rule 10.4"


@every_version
def test_notifications_are_guarded_since_version_6(alice, bob, version):
    levels = {"users": {bob.user: 100}} if has_named_rooms(version) else {"users": {alice.user: 200, bob.user: 100}}
    override = {**levels, "notifications": {"room": 150}}
    room = alice.room_with(bob, room_version=version, power_level_content_override=override)
    levels = bob.state(room, "m.room.power_levels")
    levels["notifications"] = {"room": 0}
    answer = bob.raw("PUT", bob.room_call(room, "state", "m.room.power_levels", ""), levels)
    assert answer.status == (403 if is_strict(version) else 200)


@every_version
def test_numbers_that_are_not_canonical_json_are_refused_since_version_6(alice, version):
    """rooms/v6, Canonical JSON: 400 M_BAD_JSON; rooms/v1: servers must not enforce it."""
    room = alice.create_room(room_version=version)
    for content in ({"n": 48.25}, {"n": 2**53}, {"n": -(2**53)}):
        answer = alice.raw("PUT", alice.room_call(room, "send", "org.example", fresh("t")), content)
        if is_strict(version):
            assert refusal(answer) == (400, "M_BAD_JSON")
        else:
            event = alice.event(room, answer.json["event_id"])
            assert event["content"] == content
            alice.redact(room, event["event_id"])
            assert alice.event(room, event["event_id"])["content"] == {}
    alice.send(room, "org.example", {"n": 2**53 - 1})


@every_version
def test_knocking(alice, bob, version):
    room = with_rule(alice, version, "knock")
    answer = bob.raw("POST", path(f"{V3}/knock", room), {})
    if not has_knocking(version):
        assert refusal(answer) == (403, "M_FORBIDDEN")
        return
    assert answer.json["room_id"] == room
    assert alice.membership(room, bob.user) == "knock"
    assert refusal(bob.raw("POST", path(f"{V3}/join", room), {})) == (403, "M_FORBIDDEN")
    alice.invite(room, bob)
    bob.join(room)
    bob.text(room, "here")


@every_version
@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
def test_restricted_rooms(alice, bob, carol, version, rule):
    space = public(alice, version)
    bob.join(space)
    room = with_rule(alice, version, rule, allow=[{"type": "m.room_membership", "room_id": space}])
    known = has_restricted(version) if rule == "restricted" else has_knock_restricted(version)
    answer = bob.raw("POST", path(f"{V3}/join", room), {})
    assert answer.status == (200 if known else 403)
    if known:
        content = bob.state(room, "m.room.member", bob.user)
        assert content["join_authorised_via_users_server"] == alice.user
        assert refusal(carol.raw("POST", path(f"{V3}/join", room), {})) == (403, "M_FORBIDDEN")
    knock = carol.raw("POST", path(f"{V3}/knock", room), {})
    assert knock.status == (200 if known and rule == "knock_restricted" else 403)


@pytest.mark.parametrize("version", ["1", "3", "4"])
def test_event_ids_work_in_every_path(alice, bob, version):
    """rooms/v3: ids "may contain slashes and other potentially problematic characters"."""
    room = alice.room_with(bob, room_version=version)
    odd = alice.text(room, "0")
    while version == "3" and not ("/" in odd and "+" in odd):
        odd = alice.text(room, "more")
    bob.sync()
    assert bob.event(room, odd)["event_id"] == odd
    assert bob.get(bob.room_call(room, "context", odd))["event"]["event_id"] == odd
    bob.receipt(room, odd)
    bob.call("POST", bob.room_call(room, "read_markers"), {"m.fully_read": odd, "m.read": odd})
    private = bob.sync(filter={"room": {"timeline": {"limit": 1}}})
    receipts = [e for e in joined(private, room)["ephemeral"]["events"] if e["type"] == "m.receipt"]
    assert odd in receipts[0]["content"]
    reaction, edit = bob.react(room, odd), alice.edit(room, odd, "edited")
    answer = alice.in_thread(room, odd, "threaded")
    for segments, found in [
        ((), {reaction, edit, answer}),
        (("m.annotation",), {reaction}),
        (("m.thread", "m.room.message"), {answer}),
    ]:
        chunk = bob.get(path(f"{V1}/rooms", room, "relations", odd, *segments))["chunk"]
        assert set(ids(chunk)) == found
    threads = bob.get(path(f"{V1}/rooms", room, "threads"))["chunk"]
    assert ids(threads) == [odd]
    by = alice.redact(room, odd)
    assert bob.event(room, odd)["unsigned"]["redacted_because"]["event_id"] == by


@every_version
def test_a_room_is_upgraded_to_every_later_version(alice, bob, version):
    for later in VERSIONS[VERSIONS.index(version) :]:
        room = public(alice, version, name="N", topic="T")
        bob.join(room)
        bob.text(room, "before")
        new = alice.call("POST", alice.room_call(room, "upgrade"), {"new_version": later})["replacement_room"]
        create = alice.full_state(new)["m.room.create", ""]
        assert create["content"]["room_version"] == later
        assert create["content"]["predecessor"]["room_id"] == room
        assert create["content"].get("creator") == (None if has_no_creator(later) else alice.user)
        assert alice.state(new, "m.room.name")["name"] == "N"
        listed = alice.state(new, "m.room.power_levels")["users"]
        assert listed == ({} if has_named_rooms(later) else {alice.user: 100})
        assert alice.state(room, "m.room.tombstone")["replacement_room"] == new
        answer = bob.raw("PUT", bob.room_call(room, "send", "m.room.message", fresh("t")), {"body": "late"})
        assert refusal(answer) == (403, "M_FORBIDDEN")
        bob.join(new)
        said = bob.text(new, "after")
        assert id_of(later, alice.server_name).fullmatch(said)


def test_an_upgrade_tells_old_levels_and_rules_in_new_terms(alice, bob):
    """rooms/v10: levels are integers; rooms/v7 and v8 brought join rules that older versions do not know."""
    levels = {"ban": "60", "users": {alice.user: "100", bob.user: "5"}}
    room = alice.create_room(room_version="9", power_level_content_override=levels)
    new = alice.call("POST", alice.room_call(room, "upgrade"), {"new_version": "10"})["replacement_room"]
    found = alice.state(new, "m.room.power_levels")
    assert (found["ban"], found["users"]) == (60, {alice.user: 100, bob.user: 5})
    for older, rule in [("8", "restricted"), ("7", "knock"), ("6", "invite")]:
        room = with_rule(alice, "10", "knock_restricted", allow=[])
        new = alice.call("POST", alice.room_call(room, "upgrade"), {"new_version": older})["replacement_room"]
        assert alice.state(new, "m.room.join_rules")["join_rule"] == rule


@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_rooms_of_every_version_survive_a_restart(make_server, how):
    home = make_server()
    alice, bob = Client.register(home), Client.register(home)
    rooms = {}
    for version in VERSIONS:
        room = alice.room_with(bob, room_version=version)
        said = bob.text(room, "before")
        gone = bob.text(room, "gone")
        alice.redact(room, gone)
        rooms[version] = room, said, gone
    before = {version: alice.history(room) for version, (room, _, _) in rooms.items()}
    if how == "restart":
        home.restart()
    else:
        home.kill9()
        home.start()
    for version, (room, said, gone) in rooms.items():
        assert ids(alice.history(room)) == ids(before[version])
        assert bob.event(room, said)["content"]["body"] == "before"
        assert bob.event(room, gone)["content"] == {}
        after = bob.text(room, "after")
        assert id_of(version, alice.server_name).fullmatch(after)
        assert ids(alice.history(room))[-1] == after
        bob.redact(room, said)
        assert alice.event(room, said)["content"] == {}
