"""Whose invites one wants ("Invite permission", "Ignoring users"; MSC4155), and guests that have to leave."""

import pytest

from harness.client import V3, Client, fresh
from harness.wire import path

CONFIG = "m.invite_permission_config"
FILTER = "org.matrix.msc4155.invite_permission_config"


def keep(client, kind, content):
    client.call("PUT", client.account_data("account_data", kind), content)


def invited(client):
    return client.sync(since=None, advance=False).get("rooms", {}).get("invite", {})


def assert_blocked(answer):
    assert (answer.status, answer.errcode) == (403, "M_INVITE_BLOCKED"), answer


def test_who_blocks_invites_is_not_invited_by_any_way(alice, bob):
    room = alice.create_room()
    keep(bob, CONFIG, {"default_action": "block"})
    assert_blocked(alice.member("invite", room, bob))
    target = alice.room_call(room, "state", "m.room.member", bob.user)
    assert_blocked(alice.raw("PUT", target, {"membership": "invite"}))
    assert_blocked(alice.raw("POST", f"{V3}/createRoom", {"invite": [bob.user]}))
    assert alice.membership(room, bob.user) is None
    keep(bob, CONFIG, {})
    alice.invite(room, bob)
    assert room in invited(bob)


def test_an_older_invite_is_hidden_while_invites_are_blocked(alice, bob):
    """"invite events for this user already in the database ... MUST NOT be served"."""
    room = alice.create_room()
    alice.invite(room, bob)
    assert room in invited(bob)
    keep(bob, CONFIG, {"default_action": "block"})
    assert invited(bob) == {}
    assert alice.membership(room, bob.user) == "invite"
    keep(bob, CONFIG, {"default_action": "allow"})
    assert room in invited(bob)


def test_invites_of_ignored_users_are_not_shown(alice, bob, carol):
    keep(bob, "m.ignored_user_list", {"ignored_users": {alice.user: {}}})
    hidden, shown = alice.create_room(), carol.create_room()
    alice.invite(hidden, bob)
    carol.invite(shown, bob)
    assert list(invited(bob)) == [shown]
    assert alice.membership(hidden, bob.user) == "invite", "alice is not told"


@pytest.mark.parametrize("kind", ["users", "servers"])
def test_invites_are_filtered_by_globs(alice, bob, carol, kind):
    """MSC4155."""
    sender = {"users": f"@{alice.localpart[:-1]}?:*", "servers": f"{alice.server_name[:3]}*"}[kind]
    keep(bob, FILTER, {f"blocked_{kind}": [sender], "allowed_users": [carol.user]})
    assert_blocked(alice.member("invite", alice.create_room(), bob))
    assert carol.member("invite", carol.create_room(), bob).status == 200
    keep(bob, FILTER, {f"ignored_{kind}": [sender]})
    ignored = alice.create_room()
    alice.invite(ignored, bob)
    assert ignored not in invited(bob)
    keep(bob, FILTER, {"enabled": False, f"ignored_{kind}": [sender]})
    assert ignored in invited(bob)


def test_guests_leave_when_a_room_no_longer_admits_them(make_server):
    """#guest-access: "the server MUST set those users' m.room.member state to leave"."""
    home = make_server(registration__guests=True)
    alice, bob = Client.register(home), Client.register(home)
    session = Client(home).call("POST", f"{V3}/register", {}, query={"kind": "guest"})
    guest = Client(home, session)
    opened = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    room = alice.create_room(preset="public_chat", initial_state=[opened])
    bob.join(room)
    guest.call("POST", guest.room_call(room, "join"))
    alice.sync()
    alice.set_state(room, "m.room.guest_access", {"guest_access": "forbidden"})
    alice.sync_until(lambda _: alice.membership(room, guest.user) == "leave")
    assert alice.membership(room, bob.user) == "join"
    again = guest.raw("POST", guest.room_call(room, "join"), {})
    assert (again.status, again.errcode) == (403, "M_GUEST_ACCESS_FORBIDDEN"), again


def test_guests_leave_when_what_admits_them_is_redacted(make_server):
    home = make_server(registration__guests=True)
    alice = Client.register(home)
    guest = Client(home, Client(home).call("POST", f"{V3}/register", {}, query={"kind": "guest"}))
    room = alice.create_room(preset="public_chat")
    opened = alice.set_state(room, "m.room.guest_access", {"guest_access": "can_join"})
    guest.call("POST", guest.room_call(room, "join"))
    alice.sync()
    alice.redact(room, opened)
    alice.sync_until(lambda _: alice.membership(room, guest.user) == "leave")


def test_guests_have_their_endpoints_and_no_others(make_server):
    """#guest-access, Client behaviour."""
    home = make_server(registration__guests=True)
    guest = Client(home, Client(home).call("POST", f"{V3}/register", {}, query={"kind": "guest"}))
    for target in ("account/whoami", "devices", "sync"):
        assert guest.raw("GET", f"{V3}/{target}").status == 200, target
    name = path(f"{V3}/profile", guest.user, "displayname")
    assert guest.raw("PUT", name, {"displayname": fresh("g")}).status == 200
    for method, target in [("POST", "createRoom"), ("POST", "publicRooms"), ("GET", "capabilities")]:
        answer = guest.raw(method, f"{V3}/{target}", {} if method == "POST" else None)
        assert (answer.status, answer.errcode) == (403, "M_GUEST_ACCESS_FORBIDDEN"), target
