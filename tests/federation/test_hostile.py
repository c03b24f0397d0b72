"""A server that lies: what it sends is judged, what is not allowed stays out, and its neighbours notice nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import V3, Client, fresh
from harness.events import Event, Key, canonical, content_hash, cosigned, id_of, signed
from harness.federation import Federation, eventually
from harness.peer import DAY_MS, V1, V2, Asked, Peer, now_ms
from harness.wire import path
from hostile import MIB, Siege

pytestmark = [pytest.mark.own_server]

VERSIONS = ("10", "11", "12")


@pytest.fixture
def other(federation: Federation) -> Iterator[Peer]:
    made = Peer(federation.authority)
    yield made
    made.stop()


# -- who asks (spec: "Request Authentication") -----------------------------------------------------------


def refused(siege: Siege, authorization: str, target: str = "") -> None:
    target = target or path(f"{V1}/query/profile") + f"?user_id={siege.alice.user}"
    answer = siege.peer.request(siege.home, "GET", target, authorization=authorization)
    assert answer.status in (401, 403), answer
    assert answer.errcode in ("M_UNAUTHORIZED", "M_FORBIDDEN"), answer


def test_an_honest_request_is_answered(siege: Siege) -> None:
    answer = siege.peer.request(siege.home, "GET", f"{V1}/query/profile?user_id={siege.alice.user}")
    assert answer.status == 200, answer


def test_a_request_without_a_signature_is_refused(siege: Siege) -> None:
    refused(siege, "")


def test_a_request_with_another_keys_signature_is_refused(siege: Siege) -> None:
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    stranger = Key(siege.peer.key.id.split(":")[1])
    refused(siege, siege.peer.authorization("GET", target, None, siege.home.name, key=stranger))


def test_a_request_signed_for_another_destination_is_refused(siege: Siege) -> None:
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    refused(siege, siege.peer.authorization("GET", target, None, "elsewhere.example.org"))
    # Said to be for here, signed for there.
    header = siege.peer.authorization("GET", target, None, "elsewhere.example.org")
    refused(siege, header.replace("elsewhere.example.org", siege.home.name))


def test_a_request_for_one_target_signs_no_other(siege: Siege) -> None:
    header = siege.peer.authorization("GET", f"{V1}/query/profile?user_id=%40x%3Ay", None, siege.home.name)
    refused(siege, header)


def test_a_body_that_was_not_signed_is_refused(siege: Siege) -> None:
    room = siege.room()
    good, bad = siege.peer.transaction([siege.message(room)]), siege.peer.transaction([siege.message(room, "other")])
    target = path(f"{V1}/send", fresh("t"))
    answer = siege.peer.request(siege.home, "PUT", target, good, data=canonical(bad))
    assert answer.status in (401, 403), answer
    siege.still_works(room)
    siege.unseen(room, [id_of(event, room.version) for event in bad["pdus"]])


def test_a_request_in_the_name_of_another_server_is_refused(siege: Siege, other: Peer) -> None:
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    header = siege.peer.authorization("GET", target, None, siege.home.name, origin=other.name)
    refused(siege, header)
    refused(siege, siege.peer.authorization("GET", target, None, siege.home.name, origin=siege.home.name))


@pytest.mark.parametrize(
    "header",
    ["X-Matrix", "X-Matrix origin=", 'X-Matrix origin="a",origin="b"', "X-Matrix " + "a=b," * 1000, 'X-Matrix key="', "Bearer x"],
    ids=range(6),
)
def test_a_malformed_header_is_refused(siege: Siege, header: str) -> None:
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    answer = siege.peer.request(siege.home, "GET", target, authorization=header)
    assert 400 <= answer.status < 500, answer


# -- keys (spec: "Retrieving server keys", room version 5 "Signing key validity period") -------------------


def test_keys_that_are_not_signed_by_their_server_count_for_nothing(siege: Siege) -> None:
    def forged(_: Asked) -> tuple[int, Any]:
        said = siege.peer.keys()
        said["signatures"] = {siege.peer.name: {siege.peer.key.id: Key().signature(said)}}
        return 200, said

    siege.peer.on("GET", "/_matrix/key/v2/server", forged)
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    refused(siege, siege.peer.authorization("GET", target, None, siege.home.name))


def test_keys_of_another_server_are_not_taken_from_this_one(siege: Siege, other: Peer) -> None:
    siege.peer.on("GET", "/_matrix/key/v2/server", lambda _: (200, other.keys()))
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    refused(siege, siege.peer.authorization("GET", target, None, siege.home.name))
    refused(siege, siege.peer.authorization("GET", target, None, siege.home.name, key=other.key))


def test_expired_keys_sign_no_request(siege: Siege) -> None:
    siege.peer.valid_for_ms = -DAY_MS
    target = f"{V1}/query/profile?user_id={siege.alice.user}"
    refused(siege, siege.peer.authorization("GET", target, None, siege.home.name))


def test_an_old_key_counts_for_events_of_its_time_and_not_for_later_ones(siege: Siege) -> None:
    old = Key("old")
    expired = now_ms() - DAY_MS
    siege.peer.old_keys = {old.id: {"key": old.public, "expired_ts": expired}}
    room = siege.room()
    early = signed(room.draft(siege.mallory, "m.room.message", {"body": "early"}, origin_server_ts=expired - 1000),
                   room.version, siege.peer.name, old)  # fmt: skip
    late = signed(room.draft(siege.mallory, "m.room.message", {"body": "late"}, origin_server_ts=expired + 1000),
                  room.version, siege.peer.name, old)  # fmt: skip
    siege.peer.tell(siege.home, early)
    siege.arrives(room, early)
    siege.kept_out(room, [late])


def test_an_event_of_after_the_end_of_its_keys_validity_is_refused(siege: Siege) -> None:
    """Version 5 and later: a key vouches for events until `valid_until_ts`, and never for more than seven days ahead."""
    siege.peer.valid_for_ms = 365 * DAY_MS
    room = siege.room()
    siege.kept_out(room, [siege.message(room, "far ahead", origin_server_ts=now_ms() + 30 * DAY_MS)])


# -- signatures and hashes of events (spec: "Checks performed on receipt of a PDU") -------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_with_a_wrong_signature_stays_out(siege: Siege, version: str) -> None:
    room = siege.room(version)
    bare = room.draft(siege.mallory, "m.room.message", {"body": "forged"})
    stranger = signed(bare, version, siege.peer.name, Key(siege.peer.key.id.split(":")[1]))
    unsigned = {**siege.message(room, "unsigned"), "signatures": {}}
    broken = siege.message(room, "broken")
    broken["signatures"][siege.peer.name][siege.peer.key.id] = "AAAA"
    siege.kept_out(room, [stranger, unsigned, broken])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_whose_content_was_changed_arrives_without_it(siege: Siege, version: str) -> None:
    room = siege.room(version)
    event = siege.message(room, "as it was")
    event["content"]["body"] = "changed on the way"
    siege.peer.tell(siege.home, event)
    assert siege.arrives(room, event)["content"] == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_in_the_name_of_a_user_of_another_server_stays_out(siege: Siege, other: Peer, version: str) -> None:
    room = siege.room(version)
    nancy = other.user("nancy")
    siege.peer.rooms[room.id] = room
    other.join(siege.home, room.id, nancy)
    eventually(lambda: siege.alice.membership(room.id, nancy) == "join", "Nancy's join")
    siege.peer.wait(lambda: ("m.room.member", nancy) in room.state, "Nancy's join at the peer")
    forged = [siege.peer.message(room, user, "not me") for user in (nancy, siege.alice.user)]
    # With a signature of the sender's server that is not its own.
    forged.append(cosigned(forged[0], version, other.name, siege.peer.key))
    siege.kept_out(room, forged)


def test_an_event_of_another_server_that_was_passed_on_with_its_signature_is_accepted(siege: Siege, other: Peer) -> None:
    room = siege.room()
    nancy = other.user("nancy")
    theirs = other.join(siege.home, room.id, nancy)
    event = other.message(theirs, nancy, "by way of mallory")
    siege.peer.tell(siege.home, event)
    assert siege.arrives(room, event)["content"]["body"] == "by way of mallory"


# -- what the rules forbid -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_sender_has_no_power_for_stays_out(siege: Siege, version: str) -> None:
    room = siege.room(version)
    mallory, peer = siege.mallory, siege.peer
    levels = siege.alice.state(room.id, "m.room.power_levels")
    grab = {**levels, "users": {**levels.get("users", {}), mallory: 100}}
    stranger = peer.user("stranger")
    bad = [
        peer.event(room, mallory, "m.room.power_levels", grab, ""),
        peer.event(room, mallory, "m.room.name", {"name": "mine now"}, ""),
        peer.event(room, mallory, "m.room.member", {"membership": "ban"}, siege.alice.user),
        peer.event(room, mallory, "m.room.create", {"creator": mallory, "room_version": version}, ""),
        peer.message(room, stranger, "I never joined"),
        peer.event(room, mallory, "m.room.member", {"membership": "join"}, stranger),
        # Judged by auth events that are not what selects for them.
        peer.event(room, mallory, "m.room.topic", {"topic": "x"}, "", auth=[]),
        peer.event(room, mallory, "m.room.topic", {"topic": "x"}, "", auth=[room.heads[-1]] * 3),
    ]
    siege.kept_out(room, bad)
    assert siege.alice.membership(room.id, siege.alice.user) == "join"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_banned_user_does_not_come_back_by_referring_to_before_the_ban(siege: Siege, version: str) -> None:
    """Soft failure: allowed by the state before it, not by the room's state now."""
    room = siege.room(version)
    before = list(room.heads)
    old_state = dict(room.state)
    siege.alice.call("POST", siege.alice.room_call(room.id, "ban"), {"user_id": siege.mallory})
    siege.peer.wait(lambda: room.state[("m.room.member", siege.mallory)] != old_state[("m.room.member", siege.mallory)], "the ban")
    room.state = old_state
    late = siege.message(room, "from before, I swear", prev=before)
    answer = siege.peer.send(siege.home, [late])
    assert answer.status == 200, answer
    mark = siege.alice.text(room.id, "after the ban")
    seen = siege.ids(room)
    assert mark in seen and id_of(late, version) not in seen
    # Nothing of it comes by /sync either, and the room's state is as it was.
    assert siege.alice.membership(room.id, siege.mallory) == "ban"


def restricted(siege: Siege) -> tuple[str, str]:
    space = siege.alice.create_room(preset="private_chat", creation_content={"type": "m.space"})
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    initial = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    return space, siege.alice.create_room(preset="private_chat", room_version="11", initial_state=initial)


def test_a_restricted_join_is_not_granted_to_who_is_in_none_of_the_rooms(siege: Siege) -> None:
    _, room = restricted(siege)
    answer = siege.peer.make_join(siege.home, room, siege.mallory)
    assert answer.status in (400, 403), answer
    assert answer.errcode in ("M_FORBIDDEN", "M_UNABLE_TO_AUTHORISE_JOIN", "M_UNABLE_TO_GRANT_JOIN"), answer


def test_a_forged_authorisation_of_a_restricted_join_is_refused(siege: Siege) -> None:
    """`join_authorised_via_users_server` needs the signature of that user's server."""
    _, room = restricted(siege)
    # The graph as somebody who was in the room would know it.
    state = {key: event for key, event in siege.alice.full_state(room).items()}
    heads = [siege.alice.text(room, "head")]
    content = {"membership": "join", "join_authorised_via_users_server": siege.alice.user}
    wanted = [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", ""), ("m.room.member", siege.alice.user)]
    event: Event = {
        "type": "m.room.member", "room_id": room, "sender": siege.mallory, "state_key": siege.mallory,
        "content": content, "origin_server_ts": now_ms(), "depth": 20, "prev_events": heads,
        "auth_events": [state[key]["event_id"] for key in wanted],
    }  # fmt: skip
    forged = signed(event, "11", siege.peer.name, siege.peer.key)
    answer = siege.peer.send_join(siege.home, forged, "11")
    assert answer.status in (400, 403), answer
    siege.peer.send(siege.home, [forged])
    # With a signature that claims to be the home's.
    siege.peer.send(siege.home, [cosigned(forged, "11", siege.home.name, siege.peer.key)])
    siege.alice.text(room, "mark")
    assert siege.alice.membership(room, siege.mallory) is None


def test_a_join_that_is_no_join_of_its_senders_server_is_refused(siege: Siege, other: Peer) -> None:
    room = siege.alice.create_room(preset="public_chat", room_version="11")
    template = siege.peer.make_join(siege.home, room, siege.mallory).json["event"]
    join = siege.peer.finished(template, "11")
    for bad in (
        siege.peer.finished(template, "11", content={"membership": "leave"}),
        siege.peer.finished(template, "11", type="m.room.message"),
        siege.peer.finished(template, "11", state_key=siege.alice.user),
        siege.peer.finished(template, "11", sender=other.user("n"), state_key=other.user("n")),
        {**join, "signatures": {}},
    ):
        answer = siege.peer.send_join(siege.home, bad, "11")
        assert answer.status in (400, 403), answer
    # An event that is not the one that the path names.
    target = path("/_matrix/federation/v2/send_join", room, "$" + "a" * 43)
    assert siege.peer.request(siege.home, "PUT", target, join).status in (400, 403)
    assert siege.peer.make_join(siege.home, room, other.user("n")).status in (400, 403)
    assert siege.alice.membership(room, siege.mallory) is None


@pytest.mark.parametrize("host", ("localhost", "127.0.0.1"))
def test_a_server_that_the_rooms_acl_denies_is_kept_out_whatever_it_sends(federation: Federation, home: Any, host: str) -> None:
    """`m.room.server_acl`, without regard to case, ports, or whether it is a name or an address."""
    peer = Peer(federation.authority, host=host)
    try:
        siege = Siege(federation, home, peer)
        room = siege.room()
        typing = {"edu_type": "m.typing", "content": {"room_id": room.id, "user_id": siege.mallory, "typing": True}}
        acl = {"allow": ["*"], "deny": [host.upper()]} if host == "localhost" else {"allow": ["*"], "allow_ip_literals": False}
        siege.alice.set_state(room.id, "m.room.server_acl", acl)
        siege.alice.sync()
        event = siege.message(room, "let me in")
        said = peer.send(home, [event], [typing])
        assert said.status == 200, said
        assert said.json["pdus"].get(id_of(event, room.version), {"error": ""}).get("error") is not None, said
        answer = peer.make_join(home, room.id, peer.user("friend"))
        assert answer.status == 403, answer
        for target in (path(f"{V1}/state_ids", room.id) + f"?event_id={room.heads[0]}", path(f"{V1}/backfill", room.id) + f"?v={room.heads[0]}&limit=1"):
            assert peer.request(home, "GET", target).status == 403
        mark = siege.alice.text(room.id, "mark")
        seen: list[Any] = []

        def marked(sync: Any) -> bool:
            part = sync.get("rooms", {}).get("join", {}).get(room.id, {})
            seen.extend(part.get("ephemeral", {}).get("events", []))
            return any(e["event_id"] == mark for e in part.get("timeline", {}).get("events", []))

        siege.alice.sync_until(marked)
        assert [e for e in seen if e["type"] == "m.typing" and e["content"]["user_ids"]] == []
        siege.unseen(room, [id_of(event, room.version)])
    finally:
        peer.stop()


def test_events_for_rooms_that_were_left_or_never_joined_are_not_taken(siege: Siege) -> None:
    room = siege.room()
    siege.alice.leave(room.id)
    siege.peer.wait(lambda: room.events[room.state[("m.room.member", siege.alice.user)]]["content"]["membership"] == "leave", "the leave")
    event = siege.message(room, "anybody there?")
    answer = siege.peer.send(siege.home, [event])
    assert answer.status == 200, answer
    strange = siege.peer.create_room("11", siege.mallory)
    answer = siege.peer.send(siege.home, [siege.message(strange, "you do not know me")])
    assert answer.status == 200, answer
    siege.responsive()
    # Who has left reads what was there when they left, and nothing of later.
    texts = [e["event_id"] for e in siege.alice.history(room.id, "b")]
    assert id_of(event, "11") not in texts
    assert siege.alice.raw("GET", siege.alice.room_call(strange.id, "state")).status in (403, 404)


def test_what_is_told_of_a_room_before_the_answer_to_the_join_has_come_is_taken(siege: Siege) -> None:
    peer = siege.peer
    room = peer.create_room("11", siege.mallory)
    told: list[Event] = []

    def let_in_and_go_on(asked: Asked) -> Any:
        answer = room.answer(peer, asked)
        told.append(siege.message(room, "welcome"))
        room.add(told[0])
        news = threading.Thread(target=peer.tell, args=(siege.home, told[0]))
        news.start()
        # Long enough for a refusal to come back; who waits for the join to end is waited for no longer.
        news.join(2)
        return answer

    peer.on("PUT", f"{V2}/send_join", let_in_and_go_on)
    siege.alice.call("POST", path(f"{V3}/join", room.id), {}, query={"via": peer.name, "server_name": peer.name})
    siege.arrives(room, told[0])


# -- transactions ------------------------------------------------------------------------------------------


def test_a_transaction_that_comes_again_is_answered_as_before_and_done_once(siege: Siege) -> None:
    room = siege.room()
    first, second = siege.message(room, "first"), siege.message(room, "second")
    txn = fresh("t")
    one = siege.peer.send(siege.home, [first], txn=txn)
    assert one.status == 200, one
    siege.arrives(room, first)
    again = siege.peer.send(siege.home, [first], txn=txn)
    assert again.status == 200 and again.json == one.json
    # The same id with something else in it: the answer is the first one's, and what is new is not looked at.
    other = siege.peer.send(siege.home, [second], txn=txn)
    assert other.status == 200 and other.json == one.json, other
    siege.still_works(room)
    assert siege.ids(room).count(id_of(first, room.version)) == 1
    siege.unseen(room, [id_of(second, room.version)])


def test_51_events_or_101_edus_are_too_many(siege: Siege) -> None:
    room = siege.room()
    events = [siege.message(room, f"{n}") for n in range(51)]
    answer = siege.peer.send(siege.home, events)
    assert answer.status in (400, 413), answer
    edu = {"edu_type": "m.typing", "content": {"room_id": room.id, "user_id": siege.mallory, "typing": True}}
    answer = siege.peer.send(siege.home, [], [edu] * 101)
    assert answer.status in (400, 413), answer
    siege.still_works(room)
    siege.unseen(room, [id_of(event, room.version) for event in events])
    assert siege.peer.send(siege.home, events[:50]).status == 200
    siege.arrives(room, events[49])


def test_malformed_events_are_left_out_and_the_others_taken(siege: Siege) -> None:
    room = siege.room()
    good = siege.message(room, "good")
    draft = room.draft(siege.mallory, "m.room.message", {"body": "x"})

    def resigned(**changes: Any) -> Any:
        event = {**draft, **changes}
        try:
            return signed({k: v for k, v in event.items() if v is not None}, room.version, siege.peer.name, siege.peer.key)
        except (KeyError, TypeError, AttributeError):
            return event

    bad = [
        None, 1, "event", [], {}, {"room_id": room.id}, {"room_id": 5},
        resigned(type=None), resigned(sender=None), resigned(type=7), resigned(sender="mallory"),
        resigned(depth=-1), resigned(depth=2**63), resigned(depth="7"), resigned(origin_server_ts=1.5),
        resigned(prev_events="x"), resigned(prev_events=[["$x", {}]]), resigned(prev_events=[1]),
        resigned(auth_events={}), resigned(auth_events=["$" + "a" * 43] * 11), resigned(prev_events=["$" + "a" * 43] * 21),
        resigned(content=[]), resigned(content={"n": 2**53}), resigned(content={"n": 1.5}), resigned(content={"n": -(2**60)}),
        resigned(type="t" * 256), resigned(state_key="k" * 256), resigned(sender="@" + "u" * 255 + ":" + siege.peer.name),
        resigned(content={"body": "x" * 65_536}), resigned(state_key=5),
        {**good, "hashes": {}}, {**good, "hashes": None}, {**good, "signatures": []},
    ]  # fmt: skip
    for one in bad:
        # A refusal of the whole is a refusal, too; a fault is not.
        answer = siege.peer.send(siege.home, [one])
        assert answer.status in (200, 400, 413), (one, answer)
    answer = siege.peer.send(siege.home, [*bad[3:20], good])
    assert answer.status == 200, answer
    siege.arrives(room, good)
    mine = [e for e in siege.alice.history(room.id, "b") if e["sender"] == siege.mallory and e["type"] != "m.room.member"]
    assert [e["event_id"] for e in mine] == [id_of(good, room.version)]


def test_bodies_that_are_no_transaction_are_refused(siege: Siege) -> None:
    target = path(f"{V1}/send", fresh("t"))
    for data in (b"", b"{", b"[]", b"null", b'{"pdus": 5}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000):
        header = siege.peer.authorization("PUT", target, None, siege.home.name)
        answer = siege.peer.request(siege.home, "PUT", target, data=data, authorization=header)
        assert 400 <= answer.status < 500, (data[:20], answer)
    siege.responsive()


def test_the_same_key_twice_in_an_event_shows_nobody_what_was_not_signed(siege: Siege) -> None:
    room = siege.room()
    event = siege.message(room, "signed")
    text = canonical(event).decode()
    twice = text.replace('"content":{"body":"signed"', '"content":{"body":"smuggled","msgtype":"m.text"},"content":{"body":"signed"')
    assert twice != text
    inner = text.replace('"body":"signed"', '"body":"smuggled","body":"signed"')
    for raw in (twice, inner):
        whole = siege.peer.transaction([event])
        target = path(f"{V1}/send", fresh("t"))
        data = canonical({**whole, "pdus": []}).decode().replace('"pdus":[]', f'"pdus":[{raw}]').encode()
        answer = siege.peer.request(siege.home, "PUT", target, whole, data=data)
        assert answer.status < 500, answer
    double = canonical(siege.peer.transaction([])).decode().replace('"pdus":[]', f'"pdus":[],"pdus":[{text}]')
    target = path(f"{V1}/send", fresh("t"))
    answer = siege.peer.request(siege.home, "PUT", target, json.loads(double), data=double.encode())
    assert answer.status < 500, answer
    siege.still_works(room)
    assert "smuggled" not in json.dumps(siege.alice.history(room.id, "b"))


def test_a_body_of_10_mib_is_refused(siege: Siege) -> None:
    room = siege.room()
    before = siege.measured()
    for _ in range(4):
        big = siege.message(room, "x" * (10 * MIB))
        try:
            answer = siege.peer.send(siege.home, [big])
            assert answer.status in (200, 400, 413), answer
        except OSError:
            pass  # Closed in the middle of what it does not want.
        siege.unseen(room, [id_of(big, room.version)])
    siege.still_works(room)
    siege.bounded(before)


# -- EDUs (spec: X-2) ------------------------------------------------------------------------------------


def test_edus_in_the_names_of_others_are_not_believed(siege: Siege, other: Peer) -> None:
    room = siege.room()
    bob = Client.register(siege.home)
    bob.join(room.id)
    nancy = other.user("nancy")
    other.join(siege.home, room.id, nancy)
    event = siege.alice.text(room.id, "read me")
    siege.peer.wait(lambda: event in room.events, "the message at the peer")
    siege.alice.sync()

    def receipt(user: str) -> dict[str, Any]:
        return {room.id: {"m.read": {user: {"data": {"ts": now_ms()}, "event_ids": [event]}}}}

    def edus(user: str) -> list[dict[str, Any]]:
        said = [
            ("m.typing", {"room_id": room.id, "user_id": user, "typing": True}),
            ("m.receipt", receipt(user)),
            ("m.presence", {"push": [{"user_id": user, "presence": "online", "status_msg": "forged", "last_active_ago": 1}]}),
            ("m.direct_to_device", {"sender": user, "type": "forged", "message_id": fresh("m"),
                                    "messages": {siege.alice.user: {"*": {"forged": True}}}}),
            ("m.device_list_update", {"user_id": user, "device_id": "FORGED", "stream_id": 9, "prev_id": []}),
            ("m.signing_key_update", {"user_id": user}),
        ]  # fmt: skip
        return [{"edu_type": kind, "content": content} for kind, content in said]

    for user in (bob.user, nancy):
        assert siege.peer.send(siege.home, [], edus(user)).status == 200
    malformed = [{"edu_type": kind, "content": content} for kind in ("m.typing", "m.receipt", "m.presence", "m.direct_to_device",
                 "m.device_list_update", "m.signing_key_update", "unknown", "") for content in ({}, {"room_id": 7}, {"push": 1}, {"messages": []})]  # fmt: skip
    assert siege.peer.send(siege.home, [], malformed).status in (200, 400)
    # Honest ones, last: when they are here, the others would be.
    seen: list[Any] = []
    siege.peer.send(siege.home, [], edus(siege.mallory))

    def arrived(answer: Any) -> bool:
        seen.append(answer)
        return "m.receipt" in json.dumps(answer) and any(
            e["sender"] == siege.mallory for e in answer.get("to_device", {}).get("events", [])
        ) or sum(siege.mallory in json.dumps(a) for a in seen) >= 2

    siege.alice.sync_until(arrived)
    for answer in seen:
        part = answer.get("rooms", {}).get("join", {}).get(room.id, {})
        for one in part.get("ephemeral", {}).get("events", []):
            assert bob.user not in json.dumps(one) and nancy not in json.dumps(one), one
        assert not [e for e in answer.get("presence", {}).get("events", []) if e["content"].get("status_msg") == "forged" and e["sender"] != siege.mallory]
        assert {e["sender"] for e in answer.get("to_device", {}).get("events", [])} <= {siege.mallory}
        assert not {bob.user, nancy} & set(answer.get("device_lists", {}).get("changed", []))


def test_typing_and_receipts_of_who_is_not_in_the_room_are_not_shown(siege: Siege) -> None:
    room = siege.room()
    outsider = siege.peer.user("outsider")
    siege.alice.sync()
    edu = {"edu_type": "m.typing", "content": {"room_id": room.id, "user_id": outsider, "typing": True}}
    real = {"edu_type": "m.typing", "content": {"room_id": room.id, "user_id": siege.mallory, "typing": True}}
    assert siege.peer.send(siege.home, [], [edu, real]).status == 200

    def typists(answer: Any) -> Any:
        part = answer.get("rooms", {}).get("join", {}).get(room.id, {})
        return [e["content"]["user_ids"] for e in part.get("ephemeral", {}).get("events", []) if e["type"] == "m.typing"]

    assert siege.alice.sync_until(typists)[-1] == [siege.mallory]


def test_a_message_to_devices_that_comes_twice_is_shown_once(siege: Siege) -> None:
    siege.room()
    siege.alice.sync()

    def edu(number: str) -> dict[str, Any]:
        content = {"sender": siege.mallory, "type": "test", "message_id": number, "messages": {siege.alice.user: {siege.alice.device: {"n": number}}}}
        return {"edu_type": "m.direct_to_device", "content": content}

    one, two = fresh("m"), fresh("m")
    for number in (one, one, two):
        assert siege.peer.send(siege.home, [], [edu(number)]).status == 200
    seen: list[str] = []

    def both(answer: Any) -> bool:
        seen.extend(e["content"]["n"] for e in answer.get("to_device", {}).get("events", []))
        return two in seen

    siege.alice.sync_until(both)
    assert seen == [one, two]


# -- the border around what may be read -----------------------------------------------------------------


def test_who_is_not_in_a_room_reads_nothing_of_it(siege: Siege, other: Peer) -> None:
    room = siege.room()
    head = siege.alice.text(room.id, "private")
    quoted = path(f"{V1}/x", head).rsplit("/", 1)[1]
    for target in (
        path(f"{V1}/event", head),
        path(f"{V1}/state", room.id) + f"?event_id={quoted}",
        path(f"{V1}/state_ids", room.id) + f"?event_id={quoted}",
        path(f"{V1}/event_auth", room.id, head),
        path(f"{V1}/backfill", room.id) + f"?v={quoted}&limit=10",
    ):
        answer = other.request(siege.home, "GET", target)
        assert answer.status in (403, 404), answer
    body = {"limit": 10, "earliest_events": [], "latest_events": [head]}
    answer = other.request(siege.home, "POST", path(f"{V1}/get_missing_events", room.id), body)
    assert answer.status in (403, 404), answer


def test_a_hash_alone_moves_nothing(siege: Siege) -> None:
    """The content hash is over the event as it was made, and not what a test thinks of it."""
    room = siege.room()
    event = siege.message(room, "plain")
    assert event["hashes"]["sha256"] == content_hash(event)
    siege.peer.tell(siege.home, event)
    assert siege.arrives(room, event)["content"]["body"] == "plain"

