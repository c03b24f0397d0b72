"""Reports of rooms, events and users ("Reporting content"), and reading them as an operator."""

import re

import pytest

from harness.client import V3, fresh
from harness.wire import path


def report(client, *segments, **body):
    return client.raw("POST", path(V3, *segments, "report"), body)


def report_event(client, room, event, **body):
    return client.raw("POST", client.room_call(room, "report", event), body)


def test_a_room_is_reported_from_outside_and_nobody_learns_what_exists(alice, bob):
    """"servers MUST NOT restrict room reports based on whether or not the reporting user is joined"."""
    room = alice.create_room()
    for target in (room, "!nosuch:elsewhere.example"):
        answer = report(bob, "rooms", target, reason="bad")
        assert (answer.status, answer.json) == (200, {}), answer


def test_users_are_reported_without_sharing_a_room(alice, bob):
    for target in (alice.user, f"@{fresh()}:{alice.server_name}", "@a:elsewhere.example"):
        answer = report(bob, "users", target, reason="")
        assert (answer.status, answer.json) == (200, {}), answer


def test_an_event_is_reported_by_who_is_in_its_room(alice, bob):
    """"servers MUST verify that the reporting user is currently joined"."""
    room, elsewhere = alice.room_with(bob), alice.create_room()
    event = alice.text(room, "bad")
    assert report_event(bob, room, event, reason="bad", score=-100).status == 200
    assert report_event(bob, room, event).status == 200
    unknown = [(bob, elsewhere, alice.text(elsewhere, "x")), (alice, elsewhere, event), (bob, room, "$none")]
    bob.leave(room)
    for who, where, what in [*unknown, (bob, room, event)]:
        answer = report_event(who, where, what, reason="bad")
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_a_reason_has_its_limits(alice, bob):
    answer = report(bob, "users", alice.user, reason="x" * 5000)
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE"), answer


@pytest.mark.own_server
def test_operators_read_reports_page_by_page(server, alice, bob):
    room = alice.room_with(bob)
    event = alice.text(room, "bad")
    mark = fresh("reason")
    report(bob, "rooms", room, reason=f"{mark} one\n  user   @forged:x")
    report(bob, "users", alice.user, reason=f"{mark} two")
    report_event(bob, room, event, reason=f"{mark} three")

    def page(*more):
        answer = server.command("reports", "list", *more)
        assert answer.returncode == 0, answer
        blocks = re.split(r"(?m)^(?=\S)", answer.stdout)
        return [block for block in blocks if mark in block]

    first = page("--limit", "2")
    assert [block.count(word) for block, word in zip(first, ("three", "two"))] == [1, 1], first
    assert event in first[0] and room in first[0] and alice.user in first[0] and bob.user in first[0]
    rest = page("--before", first[1].split()[0])
    assert len(rest) == 1 and "one" in rest[0]
    assert "\n  user   @forged" not in rest[0], "a reason is one line"
    assert server.command("reports", "list", "--before", "nonsense").returncode == 1
