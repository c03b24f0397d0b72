"""Who is in a room: join, leave, invite, knock, kick, ban, unban, forget ("Room membership")."""

import pytest

from harness.client import V3, fresh
from harness.wire import path

VERSIONS = ["10", "11", "12"]
PUBLIC = {"preset": "public_chat"}


def rules(kind, **more):
    """createRoom options for a join rule."""
    content = {"join_rule": kind, **more}
    return {"initial_state": [{"type": "m.room.join_rules", "state_key": "", "content": content}]}


def forbidden(answer):
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


def banned(answer):
    """M_FORBIDDEN in the endpoints' tables; Synapse 1.163 has M_BAD_STATE, which also fits its definition."""
    assert answer.status == 403, answer
    assert answer.errcode in ("M_FORBIDDEN", "M_BAD_STATE"), answer


def verb(client, name, room, **body):
    return client.raw("POST", client.room_call(room, name), body)


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def test_public_room_can_be_joined(alice, bob, version):
    room = alice.create_room(room_version=version, **PUBLIC)
    assert bob.join(room) == room
    assert bob.get(f"{V3}/joined_rooms") == {"joined_rooms": [room]}
    assert alice.membership(room, bob.user) == "join"


def test_join_is_idempotent(alice, bob):
    room = alice.create_room(**PUBLIC)
    bob.join(room)
    before = len(alice.history(room))
    assert bob.join(room) == room
    assert len(alice.history(room)) == before


def test_both_join_endpoints_and_reasons(alice, bob, carol):
    room = alice.create_room(**PUBLIC)
    assert bob.call("POST", bob.room_call(room, "join"), {"reason": "curious"})["room_id"] == room
    carol.join(room, reason="bored")
    assert alice.state(room, "m.room.member", bob.user)["reason"] == "curious"
    assert alice.state(room, "m.room.member", carol.user)["reason"] == "bored"


def test_private_room_needs_an_invite(alice, bob, version):
    room = alice.create_room(room_version=version)
    forbidden(verb(bob, "join", room))
    alice.invite(room, bob)
    bob.join(room)
    assert alice.membership(room, bob.user) == "join"


def test_unknown_room_and_alias(alice):
    for target in (f"!nosuch:{alice.server_name}", "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"):
        answer = alice.raw("POST", path(f"{V3}/join", target), {})
        assert answer.status in (400, 403, 404), answer
    answer = alice.raw("POST", path(f"{V3}/join", f"#{fresh()}:{alice.server_name}"), {})
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer
    answer = alice.raw("POST", path(f"{V3}/join", "neither"), {})
    assert answer.status == 400, answer


def test_join_by_alias(alice, bob):
    alias = fresh("alias")
    room = alice.create_room(room_alias_name=alias, **PUBLIC)
    assert bob.join(f"#{alias}:{alice.server_name}") == room


def test_invite_shows_the_inviter_and_the_reason(alice, bob):
    room = alice.create_room()
    alice.invite(room, bob, reason="come in")
    event = alice.full_state(room)["m.room.member", bob.user]
    assert event["sender"] == alice.user
    assert event["content"]["membership"] == "invite"
    assert event["content"]["reason"] == "come in"


def test_only_members_with_power_invite(alice, bob, carol):
    room = alice.create_room()
    forbidden(bob.member("invite", room, carol))
    shut = alice.room_with(bob, power_level_content_override={"invite": 50})
    forbidden(bob.member("invite", shut, carol))


def test_joined_and_banned_users_cannot_be_invited(alice, bob):
    room = alice.room_with(bob)
    forbidden(alice.member("invite", room, bob))
    assert alice.member("ban", room, bob).status == 200
    banned(alice.member("invite", room, bob))


def test_invite_can_be_rejected(alice, bob):
    room = alice.create_room(bob)
    bob.leave(room, reason="no thanks")
    assert alice.membership(room, bob.user) == "leave"
    forbidden(verb(bob, "join", room))


def test_invite_can_be_withdrawn(alice, bob):
    room = alice.create_room(bob)
    assert alice.member("kick", room, bob).status == 200
    forbidden(verb(bob, "join", room))


def test_leave_ends_access(alice, bob, version):
    room = alice.room_with(bob, room_version=version)
    bob.leave(room)
    assert bob.get(f"{V3}/joined_rooms") == {"joined_rooms": []}
    target = bob.room_call(room, "send", "m.room.message", fresh())
    forbidden(bob.raw("PUT", target, {"msgtype": "m.text", "body": "still here"}))


def test_leave_of_a_room_one_is_not_in(alice, bob):
    room = alice.create_room()
    answer = verb(bob, "leave", room)
    assert answer.status in (200, 403, 404), answer
    assert alice.membership(room, bob.user) is None


def test_kick(alice, bob, version):
    room = alice.room_with(bob, room_version=version)
    assert alice.member("kick", room, bob, reason="noise").status == 200
    event = alice.full_state(room)["m.room.member", bob.user]
    assert (event["content"]["membership"], event["sender"]) == ("leave", alice.user)
    assert event["content"]["reason"] == "noise"
    forbidden(verb(bob, "join", room))
    alice.invite(room, bob)
    bob.join(room)


def test_kick_and_ban_need_power_over_the_target(alice, bob, carol):
    room = alice.room_with(bob, carol)
    for action in ("kick", "ban"):
        forbidden(bob.member(action, room, carol))
        forbidden(bob.member(action, room, alice))
    levels = alice.state(room, "m.room.power_levels")
    alice.set_state(room, "m.room.power_levels", {**levels, "users": {bob.user: 50, carol.user: 50}})
    for action in ("kick", "ban"):
        forbidden(bob.member(action, room, carol))


def test_ban_keeps_out_until_unban(alice, bob, version):
    room = alice.create_room(room_version=version, **PUBLIC)
    bob.join(room)
    assert alice.member("ban", room, bob, reason="spam").status == 200
    assert alice.state(room, "m.room.member", bob.user) == {
        **alice.state(room, "m.room.member", bob.user),
        "membership": "ban",
        "reason": "spam",
    }
    banned(verb(bob, "join", room))
    assert alice.member("unban", room, bob).status == 200
    assert alice.membership(room, bob.user) == "leave"
    bob.join(room)


def test_one_can_ban_who_never_was_there(alice, bob):
    room = alice.create_room(**PUBLIC)
    assert alice.member("ban", room, bob).status == 200
    banned(verb(bob, "join", room))


def test_unban_of_someone_who_is_not_banned_changes_nothing(alice, bob):
    room = alice.room_with(bob)
    answer = alice.member("unban", room, bob)
    assert answer.status in (400, 403), answer
    assert alice.membership(room, bob.user) == "join"


def test_knock(alice, bob, version):
    """#knocking-on-rooms: knock, then invite, then join."""
    room = alice.create_room(room_version=version, **rules("knock"))
    forbidden(verb(bob, "join", room))
    assert bob.knock(room, reason="let me in") == room
    event = alice.full_state(room)["m.room.member", bob.user]
    assert (event["content"]["membership"], event["content"]["reason"]) == ("knock", "let me in")
    forbidden(verb(bob, "join", room))
    alice.invite(room, bob)
    bob.join(room)


def test_knock_can_be_retracted_and_refused(alice, bob, carol):
    room = alice.create_room(**rules("knock"))
    for who in (bob, carol):
        who.knock(room)
    bob.leave(room)
    assert alice.membership(room, bob.user) == "leave"
    assert alice.member("kick", room, carol).status == 200
    assert alice.membership(room, carol.user) == "leave"


def test_knock_needs_the_join_rule(alice, bob):
    for room in (alice.create_room(), alice.create_room(**PUBLIC)):
        forbidden(bob.raw("POST", path(f"{V3}/knock", room), {}))


def test_restricted_rooms_let_members_of_another_room_in(alice, bob, carol, version):
    """rooms/v8: join rule `restricted`."""
    club = alice.room_with(bob, room_version=version)
    allow = [{"type": "m.room_membership", "room_id": club}]
    room = alice.create_room(room_version=version, **rules("restricted", allow=allow))
    forbidden(verb(carol, "join", room))
    bob.join(room)
    assert alice.state(room, "m.room.member", bob.user)["join_authorised_via_users_server"]
    alice.invite(room, carol)
    carol.join(room)


def test_knock_restricted_rooms_do_both(alice, bob, carol):
    """rooms/v10: join rule `knock_restricted`."""
    club = alice.room_with(bob)
    allow = [{"type": "m.room_membership", "room_id": club}]
    room = alice.create_room(**rules("knock_restricted", allow=allow))
    bob.join(room)
    assert carol.knock(room) == room


def test_forget_hides_the_room(alice, bob):
    """#post_matrixclientv3roomsroomidforget"""
    room = alice.room_with(bob)
    bob.sync()
    answer = verb(bob, "forget", room)
    assert answer.status == 400, answer
    bob.leave(room)
    bob.forget(room)
    forbidden(bob.raw("GET", bob.room_call(room, "messages"), query={"dir": "b"}))
    everything = bob.sync(since=None, filter={"room": {"include_leave": True}})
    assert room not in everything.get("rooms", {}).get("leave", {})
    alice.invite(room, bob)
    bob.join(room)
    assert bob.history(room)


def test_joined_members_and_members(alice, bob, carol):
    room = alice.room_with(bob)
    alice.invite(room, carol)
    members = alice.get(alice.room_call(room, "joined_members"))["joined"]
    assert set(members) == {alice.user, bob.user}
    chunk = alice.get(alice.room_call(room, "members"))["chunk"]
    assert {e["state_key"]: e["content"]["membership"] for e in chunk} == {
        alice.user: "join",
        bob.user: "join",
        carol.user: "invite",
    }
    for query, expected in (
        ({"membership": "invite"}, {carol.user}),
        ({"not_membership": "invite"}, {alice.user, bob.user}),
        ({"membership": "ban"}, set()),
    ):
        chunk = alice.get(alice.room_call(room, "members"), **query)["chunk"]
        assert {e["state_key"] for e in chunk} == expected


def test_members_at_a_point_in_time(alice, bob):
    """`at`: the members as they were at a sync token."""
    room = alice.create_room(bob)
    alice.sync()
    before = alice.since
    bob.join(room)
    chunk = alice.get(alice.room_call(room, "members"), at=before)["chunk"]
    assert {e["state_key"]: e["content"]["membership"] for e in chunk}[bob.user] == "invite"


def test_outsiders_see_no_members(alice, bob, nobody):
    room = alice.create_room()
    for target in ("members", "joined_members", "state", "messages?dir=b"):
        forbidden(bob.raw("GET", f"{bob.room_call(room)}/{target}"))
        assert nobody.raw("GET", f"{bob.room_call(room)}/{target}").errcode == "M_MISSING_TOKEN"


def test_membership_through_the_state_endpoint(alice, bob):
    """A member event may also be sent as state."""
    room = alice.create_room(**PUBLIC)
    bob.set_state(room, "m.room.member", {"membership": "join"}, bob.user)
    assert alice.membership(room, bob.user) == "join"
    bob.set_state(room, "m.room.member", {"membership": "leave"}, bob.user)
    assert alice.membership(room, bob.user) == "leave"
    target = bob.room_call(room, "state", "m.room.member", alice.user)
    forbidden(bob.raw("PUT", target, {"membership": "join"}))
