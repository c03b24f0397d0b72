"""A room that asks a policy server about its events (Server-Server API, "Policy Servers"): it allows, refuses, is silent,
lies; for what is sent from here, and for what comes from others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import Client, fresh
from harness.events import Event, Key, cosigned, id_of
from harness.federation import Federation, eventually
from harness.peer import Asked, Peer

pytestmark = [pytest.mark.own_server]

SIGN = "/_matrix/policy/v1/sign"
NAME = "ed25519:policy_server"
POLICY = "m.room.policy"
SPAM = {"errcode": "M_FORBIDDEN", "error": "this looks like spam"}


class Guarded:
    """A room of Alice's with a policy server in it, and Mallory of a third server."""

    def __init__(self, home: Any, guard: Peer, other: Peer, version: str = "11") -> None:
        self.home, self.guard, self.other, self.key = home, guard, other, Key("policy_server")
        self.alice = Client.register(home)
        self.id = self.alice.create_room(preset="public_chat", room_version=version)
        self.room = guard.join(home, self.id, guard.user("guard"))
        self.mallory = other.user("mallory")
        self.theirs = other.join(home, self.id, self.mallory)
        self.version = version
        self.guard_with(guard.name)

    def guard_with(self, via: str, **more: Any) -> str:
        return self.alice.set_state(self.id, POLICY, {"via": via, "public_keys": {"ed25519": self.key.public}, **more})

    def signature(self, event: Event, key: Key | None = None) -> str:
        event = {**event, "signatures": {}}
        signed = cosigned(event, self.version, self.guard.name, key or self.key)
        return signed["signatures"][self.guard.name][NAME]

    def allows(self, key: Key | None = None) -> None:
        def sign(asked: Asked) -> Any:
            return 200, {self.guard.name: {NAME: self.signature(asked.json, key)}}

        self.guard.on("POST", SIGN, sign)

    def answers(self, status: int, body: Any) -> None:
        self.guard.on("POST", SIGN, lambda _: (status, body))

    def asked(self) -> int:
        return self.guard.count("POST", SIGN)

    def says(self, text: str) -> Any:
        target = self.alice.room_call(self.id, "send", "m.room.message", fresh("t"))
        return self.alice.raw("PUT", target, {"msgtype": "m.text", "body": text})

    def bodies(self) -> list[str]:
        return [e["content"]["body"] for e in self.alice.history(self.id) if e["type"] == "m.room.message"]

    def message(self, text: str, signed: bool = False) -> Event:
        """Of Mallory's, as the room is at their server."""
        event = self.other.message(self.theirs, self.mallory, text)
        if signed:
            event["signatures"].setdefault(self.guard.name, {})[NAME] = self.signature(event)
        return event

    def arrives(self, event: Event) -> Any:
        event_id = id_of(event, self.version)
        return eventually(lambda: self.alice.event(self.id, event_id), f"{event_id} at home")


@pytest.fixture
def peers(federation: Federation) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(federation.authority), Peer(federation.authority)
    yield made
    for one in made:
        one.stop()


@pytest.fixture
def guarded(home: Any, peers: tuple[Peer, Peer]) -> Guarded:
    return Guarded(home, *peers)


# -- what is sent from here ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "12"])
def test_what_it_allows_is_sent_with_its_signature_beside_ours(home, peers, version):
    room = Guarded(home, *peers, version=version)
    room.allows()
    answer = room.says("good")
    assert answer.status == 200, answer
    event_id = answer.json["event_id"]
    event = room.other.wait(lambda: next((e for e in room.other.pdus if e.get("content", {}).get("body") == "good"), None))
    assert id_of(event, version) == event_id, "what was signed is what was sent"
    assert event["signatures"][room.guard.name][NAME] == room.signature(event)
    assert home.name in event["signatures"]
    assert room.asked() == 1
    assert room.bodies() == ["good"]


def test_what_it_refuses_is_not_sent_and_the_sender_is_told_its_words(guarded):
    guarded.allows()
    guarded.says("before")
    guarded.answers(400, SPAM)
    answer = guarded.says("spam")
    assert (answer.status, answer.errcode, answer.json["error"]) == (400, "M_FORBIDDEN", SPAM["error"])
    guarded.answers(200, {})
    answer = guarded.says("more spam")
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), "it may refuse without a word"
    guarded.allows()
    guarded.says("after")
    assert guarded.bodies() == ["before", "after"]


def test_state_members_and_redactions_are_asked_about_too(home, guarded):
    guarded.allows()
    sent = guarded.says("mine").json["event_id"]
    guarded.answers(400, SPAM)
    alice, room = guarded.alice, guarded.id
    bob = Client.register(home)
    refused = [
        alice.raw("PUT", alice.room_call(room, "state", "m.room.topic", ""), {"topic": "x"}),
        alice.raw("PUT", alice.room_call(room, "redact", sent, fresh("t")), {}),
        alice.raw("PUT", alice.room_call(room, "state", POLICY, "other"), {}),
        alice.member("ban", room, bob),
        bob.raw("POST", bob.room_call(room, "join"), {}),
    ]
    assert [answer.status for answer in refused] == [400] * len(refused), refused
    guarded.allows()
    alice.set_state(room, "m.room.topic", {"topic": "allowed"})
    alice.redact(room, sent)
    assert alice.event(room, sent)["content"] == {}
    bob.join(room)
    assert alice.membership(room, bob.user) == "join"


def test_one_that_is_silent_keeps_events_out_until_the_room_does_without_it(guarded):
    guarded.answers(503, b"")
    answer = guarded.says("into the void")
    assert (answer.status, answer.errcode) == (502, "M_UNKNOWN"), answer
    # Nobody is asked about the event that ends it.
    before = guarded.asked()
    guarded.alice.set_state(guarded.id, POLICY, {})
    assert guarded.asked() == before
    assert guarded.says("free").status == 200
    assert guarded.bodies() == ["free"]


def test_a_signature_by_another_key_is_none(guarded):
    guarded.allows(Key("policy_server"))
    answer = guarded.says("forged")
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer
    assert guarded.bodies() == []


def test_a_server_that_has_nobody_in_the_room_is_not_its_policy_server(federation, guarded):
    stranger = Peer(federation.authority)
    try:
        guarded.guard_with(stranger.name)
        assert guarded.says("unasked").status == 200
        assert guarded.guard_with(guarded.guard.name, public_keys={"ed25519": 1})
        assert guarded.says("still unasked").status == 200
        assert stranger.count("POST", SIGN) == 0 and guarded.asked() == 0
    finally:
        stranger.stop()


def test_a_message_that_is_repeated_is_sent_once(guarded):
    guarded.allows()
    target = guarded.alice.room_call(guarded.id, "send", "m.room.message", fresh("t"))
    answers = [guarded.alice.raw("PUT", target, {"body": "once"}) for _ in range(2)]
    assert answers[0].json == answers[1].json and answers[0].status == 200, answers
    assert guarded.bodies() == ["once"]


# -- what comes from others ------------------------------------------------------------------------------


def test_what_came_signed_is_taken_without_asking(guarded):
    guarded.answers(400, SPAM)
    event = guarded.message("signed already", signed=True)
    guarded.other.tell(guarded.home, event)
    guarded.arrives(event)
    assert guarded.asked() == 0
    assert guarded.bodies() == ["signed already"]


def test_what_came_unsigned_is_asked_about_and_goes_on_with_the_signature(guarded):
    guarded.allows()
    event = guarded.message("unsigned")
    guarded.other.tell(guarded.home, event)
    guarded.arrives(event)
    assert guarded.asked() == 1
    stored = guarded.other.get(guarded.home, f"/_matrix/federation/v1/event/{id_of(event, guarded.version)}")["pdus"][0]
    assert stored["signatures"][guarded.guard.name][NAME] == guarded.signature(event)


@pytest.mark.parametrize("refusal", ["refused", "silent", "forged"])
def test_what_it_does_not_recommend_is_not_shown_and_not_built_upon(guarded, refusal):
    match refusal:
        case "refused":
            guarded.answers(400, SPAM)
        case "silent":
            guarded.answers(503, b"")
        case "forged":
            guarded.allows(Key("policy_server"))
    spam = guarded.message("spam")
    # A signature that does not hold is as good as none: the server may have another key now.
    spam["signatures"].setdefault(guarded.guard.name, {})[NAME] = "A" * 86
    guarded.other.tell(guarded.home, spam)
    good = guarded.message("good", signed=True)
    guarded.other.tell(guarded.home, good)
    guarded.arrives(good)
    guarded.guard.wait(lambda: guarded.asked() >= 1, "the question")
    guarded.allows()
    eventually(lambda: guarded.says("mine").status == 200, "the policy server's return")
    assert "spam" not in guarded.bodies()
    mine = guarded.other.wait(lambda: next((e for e in guarded.other.pdus if e["content"].get("body") == "mine"), None))
    assert id_of(spam, guarded.version) not in mine["prev_events"]


def test_a_join_through_this_server_is_asked_about(federation, guarded):
    guarded.answers(400, SPAM)
    third = Peer(federation.authority)
    try:
        user = third.user("trudy")
        template = third.make_join(guarded.home, guarded.id, user).json
        event = third.finished(template["event"], template["room_version"])
        answer = third.send_join(guarded.home, event, template["room_version"])
        assert answer.status == 403, answer
        assert guarded.alice.membership(guarded.id, user) is None
        guarded.allows()
        event = third.finished(template["event"], template["room_version"], origin_server_ts=event["origin_server_ts"] + 1)
        assert third.send_join(guarded.home, event, template["room_version"]).status == 200
        assert guarded.alice.membership(guarded.id, user) == "join"
    finally:
        third.stop()


def test_an_invite_reaches_the_other_server_signed(guarded):
    guarded.allows()
    shown = []

    def take(asked: Asked) -> Any:
        event = asked.json["event"]
        shown.append(event)
        return 200, {"event": guarded.other.sign_again(event, guarded.version)}

    guarded.other.on("PUT", "/_matrix/federation/v2/invite", take)
    invitee = guarded.other.user("ivy")
    guarded.alice.call("POST", guarded.alice.room_call(guarded.id, "invite"), {"user_id": invitee})
    assert shown[0]["signatures"][guarded.guard.name][NAME] == guarded.signature(shown[0])
    assert guarded.alice.membership(guarded.id, invitee) == "invite"


def test_the_policy_servers_own_users_are_invited_with_both_signatures(guarded):
    guarded.allows()

    def take(asked: Asked) -> Any:
        # It gives back its own signature only.
        event = {**asked.json["event"], "signatures": {}}
        return 200, {"event": guarded.guard.sign_again(event, guarded.version)}

    guarded.guard.on("PUT", "/_matrix/federation/v2/invite", take)
    invitee = guarded.guard.user("ivy")
    guarded.alice.call("POST", guarded.alice.room_call(guarded.id, "invite"), {"user_id": invitee})
    event = guarded.other.wait(lambda: next((e for e in guarded.other.pdus if e.get("state_key") == invitee), None))
    assert set(event["signatures"][guarded.guard.name]) == {NAME, guarded.guard.key.id}
