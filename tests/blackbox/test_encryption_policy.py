"""What an operator may require of encryption: in new rooms, and of what is sent to encrypted ones."""

from __future__ import annotations

from typing import Any

import pytest

from harness.appservice import Service
from harness.client import V3, Client, fresh

pytestmark = pytest.mark.own_server

ENCRYPTION = "m.room.encryption"
MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}
SAID = {"msgtype": "m.text", "body": "in clear"}


@pytest.fixture
def strict(make_server: Any) -> Any:
    return make_server(encryption__require="private", encryption__refuse_plaintext=True)


def encryption(client: Client, room: str) -> Any:
    return client.full_state(room).get((ENCRYPTION, ""), {}).get("content")


def send(client: Client, room: str, kind: str, content: dict[str, Any]) -> Any:
    return client.raw("PUT", client.room_call(room, "send", kind, fresh("t")), content)


def refused(answer: Any) -> tuple[int, str | None]:
    return answer.status, answer.errcode


FORBIDDEN = (403, "M_FORBIDDEN")


def test_private_rooms_are_encrypted_without_their_creator_asking(strict):
    alice, bob = Client.register(strict), Client.register(strict)
    room = alice.create_room(bob, preset="private_chat")
    assert encryption(alice, room) == MEGOLM
    assert encryption(alice, alice.create_room(preset="trusted_private_chat", is_direct=True)) == MEGOLM
    invited = bob.sync_until(lambda answer: answer["rooms"].get("invite", {}).get(room))
    kinds = [event["type"] for event in invited["invite_state"]["events"]]
    assert ENCRYPTION in kinds, "who is invited sees that it is encrypted"
    assert encryption(alice, alice.create_room(preset="public_chat")) is None
    assert encryption(alice, alice.create_room(visibility="public")) is None
    assert encryption(alice, alice.create_room(creation_content={"type": "m.space"})) is None


def test_what_the_creator_asks_for_stays_if_it_is_encryption(strict):
    alice = Client.register(strict)
    own = {**MEGOLM, "rotation_period_msgs": 5}
    ask = [{"type": ENCRYPTION, "state_key": "", "content": own}]
    assert encryption(alice, alice.create_room(initial_state=ask)) == own
    ask[0]["content"] = {"algorithm": "org.example.rot13"}
    answer = alice.raw("POST", f"{V3}/createRoom", {"initial_state": ask})
    assert refused(answer) == (400, "M_INVALID_ROOM_STATE"), answer


def test_messages_in_clear_are_refused_in_encrypted_rooms_with_a_reason(strict):
    alice = Client.register(strict)
    room = alice.create_room()
    answer = send(alice, room, "m.room.message", SAID)
    assert refused(answer) == FORBIDDEN and "end-to-end encryption" in answer.json["error"], answer
    for kind in ("m.sticker", "m.call.invite", "m.poll.start"):
        assert refused(send(alice, room, kind, {})) == FORBIDDEN, kind
    sent = alice.send(room, "m.room.encrypted", {"algorithm": MEGOLM["algorithm"], "ciphertext": "x"})
    alice.react(room, sent)
    alice.redact(room, sent)
    open_room = alice.create_room(preset="public_chat")
    alice.text(open_room, "in clear, where it may be")


def test_a_delayed_message_in_clear_is_refused_too(strict):
    alice = Client.register(strict)
    room = alice.create_room()
    target = alice.room_call(room, "send", "m.room.message", fresh("t"))
    answer = alice.raw("PUT", f"{target}?org.matrix.msc4140.delay=60000", SAID)
    assert refused(answer) == FORBIDDEN, answer


def test_nobody_ends_the_encryption_of_a_room(strict):
    alice = Client.register(strict)
    room = alice.create_room()
    for less in ({}, {"algorithm": "none"}, {**MEGOLM, "rotation_period_msgs": 100_000}):
        answer = alice.raw("PUT", alice.room_call(room, "state", ENCRYPTION, ""), less)
        assert refused(answer) == FORBIDDEN, less
    event = next(e for e in alice.history(room) if e["type"] == ENCRYPTION)
    answer = alice.raw("PUT", alice.room_call(room, "redact", event["event_id"], fresh("t")), {})
    assert refused(answer) == FORBIDDEN, answer
    alice.set_state(room, ENCRYPTION, {**MEGOLM, "rotation_period_msgs": 10})
    assert encryption(alice, room)["rotation_period_msgs"] == 10


def test_a_room_that_replaces_one_in_clear_is_encrypted(make_server, tmp_path):
    home = make_server(encryption__require="all")
    alice = Client.register(home)
    space = alice.create_room(creation_content={"type": "m.space"})
    for room, wanted in ((space, None), (alice.create_room(preset="public_chat"), MEGOLM)):
        answer = alice.call("POST", alice.room_call(room, "upgrade"), {"new_version": "11"})
        assert encryption(alice, answer["replacement_room"]) == wanted


@pytest.mark.parametrize("exempt", [True, False])
def test_ghosts_of_a_bridge_are_exempt_if_the_operator_wants_it(make_server, tmp_path, exempt):
    service = Service(tmp_path, "irc").start()
    try:
        home = make_server(
            encryption__refuse_plaintext=True,
            encryption__exempt_appservices=exempt,
            appservices__registrations=[str(service.path)],
        )
        ghost = service.ghost(home, "a")
        room = ghost.create_room(initial_state=[{"type": ENCRYPTION, "content": MEGOLM}])
        answer = send(ghost, room, "m.room.message", SAID)
        assert answer.status == (200 if exempt else 403), answer
    finally:
        service.stop()


def test_without_the_options_it_is_the_users_choice(make_server):
    alice = Client.register(make_server())
    room = alice.create_room()
    assert encryption(alice, room) is None
    alice.set_state(room, ENCRYPTION, MEGOLM)
    alice.text(room, "in clear")
    alice.set_state(room, ENCRYPTION, {})
