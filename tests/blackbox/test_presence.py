"""Presence: set, read, told to those who share a room, and to nobody else."""

import pytest

from harness.client import V3, Client
from harness.wire import path


def place(user):
    return path(f"{V3}/presence", user.user, "status")


def say(client, presence, **more):
    assert client.call("PUT", place(client), {"presence": presence, **more}) == {}


def told(answer, user):
    """The last that an answer says of a user's presence."""
    of_user = [e["content"] for e in answer["presence"]["events"] if e["sender"] == user.user]
    return of_user[-1] if of_user else None


@pytest.fixture
def room(alice, bob):
    return alice.room_with(bob)


def test_who_shares_a_room_reads_it(alice, bob, room):
    say(bob, "unavailable", status_msg="out to lunch")
    read = alice.get(place(bob))
    assert (read["presence"], read["status_msg"]) == ("unavailable", "out to lunch")
    say(bob, "online")
    read = alice.get(place(bob))
    assert read["presence"] == "online" and read["currently_active"] is True
    assert 0 <= read["last_active_ago"] < 60_000
    assert "status_msg" not in read


def test_strangers_read_nothing(alice, carol):
    say(carol, "online")
    assert alice.raw("GET", place(carol)).errcode == "M_FORBIDDEN"
    nobody = path(f"{V3}/presence", f"@nobody:{alice.server_name}", "status")
    assert alice.raw("GET", nobody).errcode == "M_NOT_FOUND"
    assert carol.get(place(carol))["presence"] == "online"


def test_nobody_sets_anothers(alice, bob, room):
    assert alice.raw("PUT", place(bob), {"presence": "online"}).errcode == "M_FORBIDDEN"


@pytest.mark.parametrize(
    "body", [{}, {"presence": "dancing"}, {"presence": 3}, {"presence": "online", "status_msg": "x" * 10_000}]
)
def test_what_is_no_presence_is_refused(alice, body):
    assert alice.raw("PUT", place(alice), body).status == 400


def test_a_waiting_sync_is_told_of_a_change(alice, bob, room):
    say(bob, "online")
    alice.sync()
    say(bob, "unavailable", status_msg="brb")

    def found(answer):
        content = told(answer, bob)
        return content and content["presence"] == "unavailable" and content

    content = alice.sync_until(found)
    assert content["status_msg"] == "brb" and content["currently_active"] is False


def test_who_syncs_is_online_unless_they_say_otherwise(alice, bob, room):
    alice.sync()
    bob.sync(set_presence="offline")
    assert alice.get(place(bob))["presence"] == "offline"
    bob.sync()
    assert alice.sync_until(lambda answer: told(answer, bob))["presence"] == "online"
    bob.sync(set_presence="unavailable")
    assert alice.get(place(bob))["presence"] == "unavailable"
    bob.sync(set_presence="offline")
    assert alice.get(place(bob))["presence"] == "offline"


def test_sending_makes_online_again(alice, bob, room):
    bob.sync(set_presence="unavailable")
    bob.text(room, "I am here")
    assert alice.get(place(bob))["presence"] == "online"


def test_an_unknown_set_presence_is_refused(alice):
    answer = alice.raw("GET", f"{V3}/sync", query={"set_presence": "dancing"})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


def test_strangers_are_not_told(alice, bob, carol, room):
    carol.sync()
    say(bob, "online", status_msg="hello")
    assert told(carol.sync(), bob) is None
    assert told(carol.sync(since=None), bob) is None


def test_a_first_sync_tells_who_is_online(alice, bob, carol, room):
    alice.room_with(carol)
    say(bob, "online")
    say(carol, "offline")
    answer = alice.sync(since=None)
    assert told(answer, bob)["presence"] == "online"
    assert told(answer, carol) is None


def test_who_enters_a_room_learns_who_is_there_and_is_told_of(alice, bob):
    say(alice, "online"), say(bob, "online")
    room = alice.create_room(preset="public_chat")
    alice.sync(), bob.sync()
    bob.join(room)
    assert told(bob.sync(), alice)["presence"] == "online"
    assert told(alice.sync(), bob)["presence"] == "online"


def test_a_change_is_told_once(alice, bob, room):
    alice.sync()
    say(bob, "online", status_msg="once")
    assert told(alice.sync(), bob)
    assert told(alice.sync(), bob) is None


def test_names_and_pictures_come_with_it(alice, bob, room):
    say(bob, "online")
    alice.sync()
    bob.call("PUT", path(f"{V3}/profile", bob.user, "displayname"), {"displayname": "Bobby"})
    content = alice.sync_until(lambda answer: told(answer, bob))
    assert content["displayname"] == "Bobby"


def test_a_filter_leaves_it_out(alice, bob, room):
    say(bob, "online")
    assert told(alice.sync(since=None, filter={"presence": {"types": []}}), bob) is None
    assert told(alice.sync(since=None, filter={"presence": {"not_senders": [bob.user]}}), bob) is None


def test_switched_off_nobody_is_online(make_server):
    server = make_server(presence__enabled=False)
    alice, bob = Client.register(server), Client.register(server)
    alice.room_with(bob)
    say(bob, "online", status_msg="hello")
    bob.sync()
    assert alice.get(place(bob))["presence"] == "offline"
    assert alice.sync(since=None)["presence"]["events"] == []
