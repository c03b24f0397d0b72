"""Suspending and locking accounts ("Account moderation"), redactions of more than one event (MSC3912, MSC4293), deleted
account data (MSC3391), registration tokens."""

import pytest

from harness.client import V1, V3, Client, fresh, joined, of_type, password_login, timeline
from harness.wire import path

UNSTABLE = "/_matrix/client/unstable"


@pytest.fixture
def root(new_user):
    return new_user(admin=True)


def moderate(by, what, user, on):
    key = {"suspend": "suspended", "lock": "locked"}[what]
    return by.raw("PUT", path(f"{V1}/admin/{what}", user), {key: on})


def refused(answer, status, code):
    assert (answer.status, answer.errcode) == (status, code), answer


def test_a_suspended_user_reads_and_leaves_but_does_not_write(root, alice, bob):
    powerful = {"users": {bob.user: 50}}
    room = alice.room_with(bob, preset="public_chat", power_level_content_override=powerful)
    other = alice.create_room(preset="public_chat")
    said = bob.text(room, "before")
    theirs = alice.text(room, "theirs")
    assert moderate(root, "suspend", bob.user, True).json == {"suspended": True}
    assert root.get(path(f"{V1}/admin/suspend", bob.user)) == {"suspended": True}
    send = bob.room_call(room, "send", "m.room.message", fresh("t"))
    name = path(f"{V3}/profile", bob.user, "displayname")
    for method, target, body in [
        ("PUT", send, {"msgtype": "m.text", "body": "x"}),
        ("PUT", bob.room_call(room, "state", "m.room.topic", ""), {"topic": "x"}),
        ("PUT", bob.room_call(room, "redact", theirs, fresh("t")), {}),
        ("PUT", name, {"displayname": "x"}),
        ("POST", path(f"{V3}/join", other), {}),
        ("POST", path(f"{V3}/knock", other), {}),
        ("POST", bob.room_call(room, "invite"), {"user_id": root.user}),
        ("POST", f"{V3}/createRoom", {}),
    ]:
        refused(bob.raw(method, target, body), 403, "M_USER_SUSPENDED")
    late = alice.text(room, "for bob")
    assert late in [e["event_id"] for e in bob.messages(room)["chunk"]]
    bob.redact(room, said)
    second = bob.login()
    refused(second.raw("PUT", send, {"body": "x"}), 403, "M_USER_SUSPENDED")
    bob.leave(room)
    assert moderate(root, "suspend", bob.user, False).json == {"suspended": False}
    bob.join(room)


def test_a_locked_user_can_only_log_out_and_keeps_the_session(root, alice, bob):
    second = bob.login()
    assert moderate(root, "lock", bob.user, True).json == {"locked": True}
    for method, target in [("GET", "sync"), ("GET", "account/whoami"), ("POST", "createRoom")]:
        answer = bob.raw(method, f"{V3}/{target}", {} if method == "POST" else None)
        refused(answer, 401, "M_USER_LOCKED")
        assert answer.json["soft_logout"] is True
    login = Client(bob.server).raw("POST", f"{V3}/login", password_login(bob.user, bob.password))
    refused(login, 401, "M_USER_LOCKED")
    second.call("POST", f"{V3}/logout")
    moderate(root, "lock", bob.user, False)
    assert bob.get(f"{V3}/account/whoami")["user_id"] == bob.user
    refused(second.raw("GET", f"{V3}/account/whoami"), 401, "M_UNKNOWN_TOKEN")


@pytest.mark.parametrize("what", ["suspend", "lock"])
def test_who_may_moderate_whom(new_user, root, alice, what):
    other = new_user(admin=True)
    unknown = f"@{fresh()}:{alice.server_name}"
    for user in (root.user, unknown, "@a:elsewhere.example"):
        refused(moderate(alice, what, user, True), 403, "M_FORBIDDEN")
    refused(moderate(root, what, unknown, True), 404, "M_NOT_FOUND")
    refused(moderate(root, what, "@a:elsewhere.example", True), 400, "M_INVALID_PARAM")
    refused(moderate(root, what, other.user, True), 403, "M_FORBIDDEN")
    refused(moderate(root, what, root.user, True), 403, "M_FORBIDDEN")
    capabilities = root.get(f"{V3}/capabilities")["capabilities"]
    assert capabilities["m.account_moderation"] == {"suspend": True, "lock": True}
    assert "m.account_moderation" not in alice.get(f"{V3}/capabilities")["capabilities"]


@pytest.mark.own_server
def test_operators_restrain_accounts_by_command(server, alice):
    assert server.command("user", "lock", alice.localpart).returncode == 0
    refused(alice.raw("GET", f"{V3}/account/whoami"), 401, "M_USER_LOCKED")
    assert "neither" in server.command("user", "unlock", alice.user).stdout
    alice.get(f"{V3}/account/whoami")
    assert server.command("user", "lock", fresh("nobody")).returncode == 1


@pytest.mark.own_server
def test_registration_tokens_are_made_listed_and_revoked_by_command(server, nobody):
    made = server.command("token", "create", "--uses", "1", "--days", "3")
    assert made.returncode == 0, made
    token = made.stdout.strip()
    place = f"{V1}/register/m.login.registration_token/validity"
    assert nobody.get(place, token=token) == {"valid": True}
    listed = [line for line in server.command("token", "list").stdout.splitlines() if token in line]
    assert len(listed) == 1 and "used 0 of 1" in listed[0]
    body = {"username": fresh(), "password": "long enough a password"}
    session = nobody.raw("POST", f"{V3}/register", body).json["session"]
    stage = {"type": "m.login.registration_token", "token": token, "session": session}
    half = nobody.raw("POST", f"{V3}/register", {**body, "auth": stage})
    assert (half.status, half.json["completed"]) == (401, ["m.login.registration_token"])
    dummy = {"type": "m.login.dummy", "session": session}
    assert nobody.raw("POST", f"{V3}/register", {**body, "auth": dummy}).status == 200
    assert nobody.get(place, token=token) == {"valid": False}, "it is used up"
    assert server.command("token", "revoke", token).returncode == 0
    assert server.command("token", "revoke", token).returncode == 1


def test_related_events_are_redacted_too(alice, bob):
    """MSC3912."""
    room = alice.room_with(bob)
    root = bob.text(room, "root")
    edit, reaction, reply = bob.edit(room, root, "edited"), alice.react(room, root), bob.in_thread(room, root, "re")
    bob.redact(room, root, **{"org.matrix.msc3912.with_relations": ["m.replace", "m.annotation"]})
    gone = {e for e in (root, edit, reaction, reply) if alice.event(room, e)["content"] == {}}
    assert gone == {root, edit}, "bob may not redact what alice sent"
    alice.redact(room, root, **{"org.matrix.msc3912.with_relations": ["*"]})
    assert alice.event(room, reaction)["content"] == alice.event(room, reply)["content"] == {}


@pytest.mark.parametrize("verb", ["ban", "kick"])
def test_what_someone_said_goes_with_them(alice, bob, carol, verb):
    """MSC4293."""
    room = alice.room_with(bob, carol)
    spam, ham = bob.text(room, "spam"), carol.text(room, "ham")
    carol.sync()
    answer = alice.member(verb, room, bob, reason="spam", **{"org.matrix.msc4293.redact_events": True})
    assert answer.status == 200, answer
    member = alice.state(room, "m.room.member", bob.user)
    assert member["org.matrix.msc4293.redact_events"] is True
    seen = carol.event(room, spam)
    assert seen["content"] == {}
    assert seen["unsigned"]["redacted_because"]["type"] == "m.room.member"
    assert carol.event(room, ham)["content"]["body"] == "ham"
    assert not of_type(timeline(carol.sync(), room), "m.room.redaction")


def test_deleted_account_data_is_told_once_and_forgotten(alice):
    """MSC3391."""
    second = alice.login()
    room = alice.create_room()
    kinds = [alice.account_data("account_data", "org.example"), alice.account_data("rooms", room, "account_data", "org.example")]
    for target in kinds:
        alice.call("PUT", target, {"a": 1})
    second.sync()
    for target in kinds:
        alice.call("DELETE", target.replace(V3, f"{UNSTABLE}/org.matrix.msc3391"))
        answer = alice.raw("GET", target)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer
    answer = second.sync()
    deleted = [{"type": "org.example", "content": {}}]
    assert answer["account_data"]["events"] == deleted
    assert joined(answer, room)["account_data"]["events"] == deleted
    first = second.sync(since=None, advance=False)
    assert not of_type(first["account_data"]["events"], "org.example")
    ours = alice.account_data("account_data", "m.push_rules").replace(V3, f"{UNSTABLE}/org.matrix.msc3391")
    assert alice.raw("DELETE", ours).status == 405
