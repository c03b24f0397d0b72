"""Notices of the server to its users ("Server notices")."""

import pytest

from harness.client import V3, Client, fresh, of_type, timeline
from harness.wire import path

pytestmark = pytest.mark.own_server


def invites(answer):
    return list(answer.get("rooms", {}).get("invite", {}))


def notice_room(client):
    """The room of the server's notices, to which the user is invited."""
    return client.sync_until(invites)[0]


def said(client, room):
    return [e["content"] for e in of_type(client.history(room), "m.room.message")]


def test_a_notice_comes_by_invite_to_a_room_of_its_own(server, alice):
    alice.sync()
    done = server.command("notice", alice.localpart, "Maintenance at noon")
    assert done.returncode == 0 and alice.user in done.stdout, done
    room = notice_room(alice)
    rejected = alice.raw("POST", alice.room_call(room, "leave"), {})
    assert (rejected.status, rejected.errcode) == (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"), rejected
    alice.join(room)
    content = said(alice, room)[0]
    assert (content["msgtype"], content["body"]) == ("m.server_notice", "Maintenance at noon")
    assert "m.server_notice" in alice.get(alice.account_data("rooms", room, "tags"))["tags"]
    answer = alice.raw("PUT", alice.room_call(room, "send", "m.room.message", fresh("t")), {"body": "x"})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    alice.sync()
    server.command("notice", alice.user, "Another")
    found = alice.sync_until(lambda a: of_type(timeline(a, room), "m.room.message"))
    assert found[0]["content"]["body"] == "Another", "there is one room"


def test_who_blocks_invites_is_told_all_the_same(server, alice):
    alice.call("PUT", alice.account_data("account_data", "m.invite_permission_config"), {"default_action": "block"})
    alice.sync()
    server.command("notice", alice.user, "Important")
    notice_room(alice)


def test_who_has_joined_may_leave_and_is_invited_again(server, alice):
    alice.sync()
    server.command("notice", alice.user, "One")
    room = notice_room(alice)
    alice.join(room)
    alice.leave(room)
    server.command("notice", alice.user, "Two")
    assert alice.sync_until(invites) == [room]


def test_a_notice_to_all_reaches_everyone_even_if_given_while_the_server_is_stopped(make_server):
    home = make_server()
    users = [Client.register(home) for _ in range(11)]
    for user in users:
        user.sync()
    home.terminate()
    done = home.command("notice", "--all", "Welcome back")
    assert done.returncode == 0, done
    home.start()
    for user in users:
        room = notice_room(user)
        user.join(room)
        assert [content["body"] for content in said(user, room)] == ["Welcome back"]


def test_a_notice_needs_someone_to_go_to(server):
    assert server.command("notice", fresh("nobody"), "hello").returncode == 1
    assert server.command("notice", "--all", "").returncode == 1


def test_nobody_logs_in_as_the_server(server, alice):
    alice.sync()
    server.command("notice", alice.user, "hello")
    room = notice_room(alice)
    alice.join(room)
    sender = of_type(alice.history(room), "m.room.message")[0]["sender"]
    taken = Client(server).raw("GET", f"{V3}/register/available", query={"username": sender[1:].split(":")[0]})
    assert (taken.status, taken.errcode) == (400, "M_USER_IN_USE"), taken
    assert alice.get(path(f"{V3}/profile", sender))["displayname"] == "Server notices"
