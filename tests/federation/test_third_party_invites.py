"""Invites by mail address that become invites of users (Server-Server API, "Third-party invites"): whoever was not named by
the identity server is not let in."""

from __future__ import annotations

from typing import Any

import pytest

from harness.client import Client
from harness.events import Key
from harness.federation import Federation
from harness.peer import V1, Asked, Peer
from harness.wire import Response, path

pytestmark = [pytest.mark.own_server]

IDENTITY = "identity.example.org"
TOKEN = "abc123"


class Invited:
    """Alice has invited an address; the peer's Ivy turns out to have it."""

    def __init__(self, home: Any, peer: Peer) -> None:
        self.home, self.peer, self.key = home, peer, Key("0")
        self.alice = Client.register(home)
        self.room = self.alice.create_room(preset="private_chat", room_version="11")
        content = {
            "display_name": "i…@example.org",
            "key_validity_url": f"https://{IDENTITY}/valid",
            "public_key": self.key.public,
            "public_keys": [{"public_key": self.key.public}],
        }
        self.alice.set_state(self.room, "m.room.third_party_invite", content, TOKEN)
        self.ivy = peer.user("ivy")
        peer.on("PUT", "/_matrix/federation/v2/invite", self.sign)

    def sign(self, asked: Asked) -> Any:
        return 200, {"event": self.peer.sign_again(asked.json["event"], "11")}

    def signed(self, mxid: str, token: str = TOKEN, key: Key | None = None) -> dict[str, Any]:
        return (key or self.key).sign({"mxid": mxid, "token": token}, IDENTITY)

    def exchange(self, signed: dict[str, Any], invitee: str | None = None, sender: str | None = None) -> Response:
        content = {"membership": "invite", "third_party_invite": {"display_name": "i…@example.org", "signed": signed}}
        body = {
            "type": "m.room.member",
            "room_id": self.room,
            "sender": sender or self.alice.user,
            "state_key": invitee or self.ivy,
            "content": content,
        }
        return self.peer.request(self.home, "PUT", path(f"{V1}/exchange_third_party_invite", self.room), body)

    def standing(self, user: str) -> Any:
        return self.alice.membership(self.room, user)

    def stays_out(self, answer: Response, *statuses: int) -> None:
        assert answer.status in statuses, answer
        assert self.standing(self.ivy) is None
        assert self.peer.count("PUT", "/_matrix/federation/v2/invite") == 0, "nobody was asked to sign it"


@pytest.fixture
def invited(home: Any, peer: Peer) -> Invited:
    return Invited(home, peer)


def test_who_has_the_address_is_invited(invited: Invited) -> None:
    answer = invited.exchange(invited.signed(invited.ivy))
    assert answer.status == 200, answer
    assert invited.standing(invited.ivy) == "invite"
    event = invited.alice.full_state(invited.room)[("m.room.member", invited.ivy)]
    assert event["content"]["third_party_invite"]["signed"]["token"] == TOKEN
    room = invited.peer.join(invited.home, invited.room, invited.ivy)
    assert room.id == invited.room and invited.standing(invited.ivy) == "join"


def test_a_signature_by_another_key_is_forged(invited: Invited) -> None:
    invited.stays_out(invited.exchange(invited.signed(invited.ivy, key=Key("0"))), 403)


def test_a_signature_that_was_changed_is_forged(invited: Invited) -> None:
    signed = invited.signed(invited.peer.user("other"))
    invited.stays_out(invited.exchange({**signed, "mxid": invited.ivy}), 403)


def test_a_signature_for_somebody_else_invites_nobody(invited: Invited) -> None:
    invited.stays_out(invited.exchange(invited.signed(invited.peer.user("other"))), 400, 403)


def test_a_token_that_was_not_given_invites_nobody(invited: Invited) -> None:
    invited.stays_out(invited.exchange(invited.signed(invited.ivy, token="guessed")), 403)


def test_a_signature_without_signatures_invites_nobody(invited: Invited) -> None:
    signed = {**invited.signed(invited.ivy), "signatures": {}}
    invited.stays_out(invited.exchange(signed), 400, 403)


def test_the_invite_is_in_the_name_of_who_invited_the_address_and_nobody_else(invited: Invited) -> None:
    bob = Client.register(invited.home)
    invited.stays_out(invited.exchange(invited.signed(invited.ivy), sender=bob.user), 403)


def test_a_server_exchanges_for_its_own_users_only(federation: Federation, invited: Invited) -> None:
    elsewhere = Peer(federation.authority)
    try:
        user = elsewhere.user("ivy")
        answer = invited.exchange(invited.signed(user), invitee=user)
        assert answer.status == 403, answer
        assert invited.standing(user) is None
    finally:
        elsewhere.stop()


def test_an_invite_that_was_taken_back_invites_nobody(invited: Invited) -> None:
    invited.alice.set_state(invited.room, "m.room.third_party_invite", {}, TOKEN)
    invited.stays_out(invited.exchange(invited.signed(invited.ivy)), 403)
