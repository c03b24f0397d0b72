"""Althing and Synapse in one room: whoever hosts it, in every version of rooms that clients still make."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import V1, V3, Client, fresh, ids, of_type, timeline
from harness.federation import Federation, bodies, eventually, host_of, join, same_state, sees, state_ids
from harness.wire import path, quote

pytestmark = [pytest.mark.own_server]

VERSIONS = ("10", "11", "12")
MESSAGES = 500
EARLIER = 1000


@dataclasses.dataclass
class Pair:
    """Two servers and their newest users: Alice where rooms are made, Bob on the other server."""

    federation: Federation
    host: Any
    guest: Any
    version: str

    def __post_init__(self) -> None:
        self.alice, self.bob = Client.register(self.host), Client.register(self.guest)

    def room(self, **options: Any) -> str:
        options.setdefault("preset", "public_chat")
        options.setdefault("room_version", self.version)
        return self.alice.create_room(**options)

    def shared(self, **options: Any) -> str:
        """A public room that both are in, and know to be."""
        room = self.room(**options)
        join(self.bob, room, self.host)
        self.both_see_the_join(room)
        return room

    def both_see_the_join(self, room: str, of: Client | None = None) -> None:
        user = (of or self.bob).user
        for client in (self.alice, self.bob):
            eventually(lambda c=client: c.membership(room, user) == "join", f"the join at {host_of(client)}")

    def lift(self, room: str) -> None:
        """Bob may change everything, too."""
        levels = self.alice.state(room, "m.room.power_levels")
        levels.setdefault("users", {})[self.bob.user] = 100
        self.alice.set_state(room, "m.room.power_levels", levels)
        eventually(
            lambda: self.bob.state(room, "m.room.power_levels")["users"].get(self.bob.user) == 100, "Bob's power"
        )


@pytest.fixture(scope="module")
def servers(federation: Federation) -> Iterator[dict[str, Any]]:
    yield {"althing": federation.subject(), "synapse": federation.synapse()}


@pytest.fixture(params=("althing hosts", "synapse hosts"))
def direction(request: pytest.FixtureRequest) -> tuple[str, str]:
    return ("althing", "synapse") if request.param == "althing hosts" else ("synapse", "althing")


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pair(federation: Federation, servers: dict[str, Any], direction: tuple[str, str], version: str) -> Pair:
    return Pair(federation, servers[direction[0]], servers[direction[1]], version)


@pytest.fixture
def newest(federation: Federation, servers: dict[str, Any], direction: tuple[str, str]) -> Pair:
    """For what does not differ between versions."""
    return Pair(federation, servers[direction[0]], servers[direction[1]], "12")


def invited(client: Client, room: str) -> list[dict[str, Any]]:
    """Waits for an invite, and gives what it shows of the room."""
    return client.sync_until(
        lambda answer: answer.get("rooms", {}).get("invite", {}).get(room, {}).get("invite_state", {}).get("events")
    )


def left(client: Client, room: str) -> Any:
    return client.sync_until(lambda answer: answer.get("rooms", {}).get("leave", {}).get(room) is not None)


# -- coming and going ----------------------------------------------------------------------------------


def test_a_room_is_joined_by_its_alias_and_messages_go_both_ways(pair: Pair) -> None:
    name = fresh("alias")
    room = pair.room(room_alias_name=name, name="Elsewhere")
    assert join(pair.bob, f"#{name}:{pair.host.name}") == room
    pair.both_see_the_join(room)
    assert sees(pair.bob, room, pair.alice.text(room, "from here"))["content"]["body"] == "from here"
    assert sees(pair.alice, room, pair.bob.text(room, "from there"))["content"]["body"] == "from there"
    assert pair.bob.state(room, "m.room.name")["name"] == "Elsewhere"
    same_state(room, pair.alice, pair.bob)


def test_an_invite_arrives_with_the_name_of_the_room_and_is_accepted(pair: Pair) -> None:
    room = pair.room(preset="private_chat", name="By invitation")
    pair.alice.invite(room, pair.bob)
    shown = invited(pair.bob, room)
    assert [e["content"]["name"] for e in of_type(shown, "m.room.name")] == ["By invitation"]
    assert any(e["state_key"] == pair.bob.user for e in of_type(shown, "m.room.member"))
    pair.bob.join(room)
    pair.both_see_the_join(room)
    sees(pair.alice, room, pair.bob.text(room, "thank you"))
    same_state(room, pair.alice, pair.bob)


def test_an_invite_is_rejected_and_its_sender_sees_it(pair: Pair) -> None:
    room = pair.room(preset="private_chat")
    pair.alice.invite(room, pair.bob)
    invited(pair.bob, room)
    pair.bob.leave(room)
    left(pair.bob, room)
    eventually(lambda: pair.alice.membership(room, pair.bob.user) == "leave", "the rejection")


def test_an_invite_is_taken_back(pair: Pair) -> None:
    room = pair.room(preset="private_chat")
    pair.alice.invite(room, pair.bob)
    invited(pair.bob, room)
    assert pair.alice.member("kick", room, pair.bob).status == 200
    left(pair.bob, room)
    via = {"via": [pair.host.name], "server_name": [pair.host.name]}
    assert pair.bob.raw("POST", path(f"{V3}/join", room), {}, query=via).status == 403


def test_a_knock_is_seen_answered_with_an_invite_and_becomes_a_join(pair: Pair) -> None:
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = pair.room(preset="private_chat", name="Knock first", initial_state=[rule])
    via = [pair.host.name]
    pair.bob.call("POST", path(f"{V3}/knock", room), {"reason": "please"}, query={"via": via, "server_name": via})
    eventually(lambda: pair.alice.membership(room, pair.bob.user) == "knock", "the knock")
    knocked = pair.bob.sync_until(
        lambda a: a.get("rooms", {}).get("knock", {}).get(room, {}).get("knock_state", {}).get("events")
    )
    assert [e["content"]["name"] for e in of_type(knocked, "m.room.name")] == ["Knock first"]
    pair.alice.invite(room, pair.bob)
    invited(pair.bob, room)
    pair.bob.join(room)
    pair.both_see_the_join(room)


def test_a_knock_is_taken_back(pair: Pair) -> None:
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = pair.room(preset="private_chat", initial_state=[rule])
    via = [pair.host.name]
    pair.bob.call("POST", path(f"{V3}/knock", room), {}, query={"via": via, "server_name": via})
    eventually(lambda: pair.alice.membership(room, pair.bob.user) == "knock", "the knock")
    pair.bob.leave(room)
    eventually(lambda: pair.alice.membership(room, pair.bob.user) == "leave", "the retraction")


def test_a_restricted_room_lets_in_the_members_of_a_space_and_nobody_else(pair: Pair) -> None:
    space = pair.shared(creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": space}]
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "restricted", "allow": allow}}
    room = pair.room(preset="private_chat", initial_state=[rule])
    stranger = Client.register(pair.guest)
    via = {"via": [pair.host.name], "server_name": [pair.host.name]}
    assert stranger.raw("POST", path(f"{V3}/join", room), {}, query=via).status == 403
    join(pair.bob, room, pair.host)
    pair.both_see_the_join(room)
    content = pair.bob.state(room, "m.room.member", pair.bob.user)
    assert content["join_authorised_via_users_server"] == pair.alice.user
    # The server is in the room now, and still may not let in by itself who has no right to be.
    assert stranger.raw("POST", path(f"{V3}/join", room), {}, query=via).status == 403
    same_state(room, pair.alice, pair.bob)


def test_who_leaves_is_gone_on_both_sides_and_may_come_back(pair: Pair) -> None:
    room = pair.shared()
    pair.bob.leave(room)
    eventually(lambda: pair.alice.membership(room, pair.bob.user) == "leave", "the leave")
    missed = pair.alice.text(room, "while you were away")
    join(pair.bob, room, pair.host)
    pair.both_see_the_join(room)
    sees(pair.alice, room, pair.bob.text(room, "back"))
    # What happened meanwhile is there for who reads back.
    eventually(lambda: missed in ids(pair.bob.history(room, "b")), "what was missed")
    same_state(room, pair.alice, pair.bob)


def test_a_kick_and_a_ban_hold_on_the_other_server(pair: Pair) -> None:
    room = pair.shared()
    pair.bob.sync()
    assert pair.alice.member("kick", room, pair.bob, reason="out").status == 200
    left(pair.bob, room)
    join(pair.bob, room, pair.host)
    pair.both_see_the_join(room)
    pair.bob.sync()
    assert pair.alice.member("ban", room, pair.bob).status == 200
    left(pair.bob, room)
    via = {"via": [pair.host.name], "server_name": [pair.host.name]}
    assert pair.bob.raw("POST", path(f"{V3}/join", room), {}, query=via).status == 403
    assert pair.bob.raw("PUT", pair.bob.room_call(room, "send", "m.room.message", "t"), {"body": "x"}).status == 403
    assert pair.alice.member("unban", room, pair.bob).status == 200
    join(pair.bob, room, pair.host)
    pair.both_see_the_join(room)


def test_the_guest_may_kick_and_ban_where_it_has_the_power(pair: Pair) -> None:
    room = pair.shared()
    pair.lift(room)
    carol = Client.register(pair.host)
    carol.join(room)
    pair.both_see_the_join(room, carol)
    assert pair.bob.member("ban", room, carol).status == 200
    eventually(lambda: pair.alice.membership(room, carol.user) == "ban", "the ban")
    assert carol.raw("POST", path(f"{V3}/join", room), {}).status == 403
    same_state(room, pair.alice, pair.bob)


# -- what is in the room -------------------------------------------------------------------------------


def test_redactions_take_the_content_away_on_both_sides(pair: Pair) -> None:
    room = pair.shared()
    own, other = pair.bob.text(room, "mine"), pair.bob.text(room, "to be moderated")
    sees(pair.alice, room, other)
    pair.bob.redact(room, own, reason="slip")
    pair.alice.redact(room, other)
    for client in (pair.alice, pair.bob):
        for event in (own, other):
            eventually(lambda c=client, e=event: c.event(room, e)["content"] == {}, f"the redaction at {host_of(client)}")
    again = pair.alice.event(room, own)["unsigned"]["redacted_because"]
    assert again["sender"] == pair.bob.user and again["content"].get("reason") == "slip"


def test_state_is_changed_from_both_sides_and_is_the_same_on_both(pair: Pair) -> None:
    room = pair.shared()
    pair.lift(room)
    pair.alice.set_state(room, "m.room.topic", {"topic": "one"})
    pair.bob.set_state(room, "m.room.name", {"name": "two"})
    state = same_state(room, pair.alice, pair.bob)
    assert ("m.room.name", "") in state
    eventually(lambda: pair.alice.state(room, "m.room.name")["name"] == "two", "the name")


def test_state_that_was_changed_on_both_sides_of_a_cut_is_the_same_after_it(pair: Pair) -> None:
    room = pair.shared()
    pair.lift(room)
    same_state(room, pair.alice, pair.bob)
    pair.federation.cut(pair.guest)
    for turn in range(3):
        for client in (pair.alice, pair.bob):
            client.set_state(room, "m.room.topic", {"topic": f"{turn} of {host_of(client)}"})
            client.set_state(room, "test.own", {"turn": turn}, host_of(client))
    levels = pair.alice.state(room, "m.room.power_levels")
    pair.alice.set_state(room, "m.room.power_levels", {**levels, "events_default": 0, "ban": 60})
    pair.bob.set_state(room, "m.room.power_levels", {**levels, "events_default": 0, "kick": 60})
    pair.federation.heal(pair.guest)
    # Something new makes each side look for the other again.
    pair.alice.text(room, "here")
    pair.bob.text(room, "there")
    state = same_state(room, pair.alice, pair.bob)
    assert {("test.own", pair.host.name), ("test.own", pair.guest.name)} <= state.keys()


def test_500_messages_each_way_arrive_in_order_and_once(newest: Pair) -> None:
    room = newest.shared()
    texts = {client: [f"{client.localpart} {n}" for n in range(MESSAGES)] for client in (newest.alice, newest.bob)}
    for at in range(MESSAGES):
        for client in texts:
            client.text(room, texts[client][at])
    for reader in texts:
        for sender in texts:
            eventually(
                lambda r=reader, s=sender: bodies(r, room, s) == texts[s],
                f"{sender.user}'s messages at {host_of(reader)}", 120,
            )  # fmt: skip


def test_1000_earlier_events_are_read_by_who_comes_later(newest: Pair) -> None:
    room = newest.room()
    texts = [f"earlier {n}" for n in range(EARLIER)]
    for text in texts:
        newest.alice.text(room, text)
    join(newest.bob, room, newest.host)
    newest.both_see_the_join(room)
    eventually(lambda: bodies(newest.bob, room, page=100) == texts, "the past", 120)


def test_a_room_is_upgraded_and_the_guest_follows(newest: Pair) -> None:
    room = newest.shared(room_version="11")
    successor = newest.alice.call("POST", newest.alice.room_call(room, "upgrade"), {"new_version": "12"})["replacement_room"]
    tomb = eventually(lambda: newest.bob.state(room, "m.room.tombstone"), "the tombstone")
    assert tomb["replacement_room"] == successor
    join(newest.bob, successor, newest.host)
    eventually(lambda: newest.alice.membership(successor, newest.bob.user) == "join", "the join")
    created = newest.bob.state(successor, "m.room.create")
    assert created["room_version"] == "12" and created["predecessor"]["room_id"] == room
    same_state(successor, newest.alice, newest.bob)
    assert ("m.room.tombstone", "") in state_ids(newest.bob, room)


def test_events_of_the_other_server_come_over_sync(newest: Pair) -> None:
    room = newest.shared()
    for reader, sender in ((newest.alice, newest.bob), (newest.bob, newest.alice)):
        reader.sync()
        event = sender.text(room, "live")
        reader.sync_until(lambda answer: event in ids(timeline(answer, room)))


# -- what passes ---------------------------------------------------------------------------------------


def each_way(newest: Pair) -> list[tuple[Client, Client]]:
    return [(newest.alice, newest.bob), (newest.bob, newest.alice)]


def ephemeral(answer: Any, room: str, kind: str) -> list[dict[str, Any]]:
    part = answer.get("rooms", {}).get("join", {}).get(room, {})
    return of_type(part.get("ephemeral", {}).get("events", []), kind)


def test_read_receipts_cross(newest: Pair) -> None:
    room = newest.shared()
    for reader, writer in each_way(newest):
        event = writer.text(room, "read me")
        sees(reader, room, event)
        writer.sync()
        reader.receipt(room, event)
        writer.sync_until(
            lambda answer: any(
                reader.user in receipt["content"].get(event, {}).get("m.read", {})
                for receipt in ephemeral(answer, room, "m.receipt")
            )
        )


def test_typing_crosses_and_ends(newest: Pair) -> None:
    room = newest.shared()
    for reader, writer in each_way(newest):
        reader.sync()
        target = path(f"{V3}/rooms", room, "typing", writer.user)
        for typing, expected in ((True, [writer.user]), (False, [])):
            writer.call("PUT", target, {"typing": typing, "timeout": 30_000} if typing else {"typing": False})
            reader.sync_until(
                lambda answer: [e for e in ephemeral(answer, room, "m.typing") if e["content"]["user_ids"] == expected]
            )


def test_presence_crosses(newest: Pair) -> None:
    newest.shared()
    for reader, writer in each_way(newest):
        reader.sync()
        message = fresh("status")
        body = {"presence": "online", "status_msg": message}
        writer.call("PUT", path(f"{V3}/presence", writer.user, "status"), body)
        reader.sync_until(
            lambda answer: any(
                event["sender"] == writer.user and event["content"].get("status_msg") == message
                for event in answer.get("presence", {}).get("events", [])
            )
        )


def test_a_change_of_profile_reaches_the_room_and_can_be_asked_for(newest: Pair) -> None:
    room = newest.shared()
    for reader, writer in each_way(newest):
        name = fresh("Name")
        writer.call("PUT", path(f"{V3}/profile", writer.user, "displayname"), {"displayname": name})
        eventually(
            lambda: reader.state(room, "m.room.member", writer.user).get("displayname") == name, "the name in the room"
        )
        stranger = Client.register(reader.server)
        eventually(
            lambda: stranger.get(path(f"{V3}/profile", writer.user)).get("displayname") == name, "the name, asked for"
        )


def test_messages_to_devices_cross(newest: Pair) -> None:
    newest.shared()
    for reader, writer in each_way(newest):
        reader.sync()
        for count in range(3):
            content = {reader.user: {reader.device: {"count": count}}}
            writer.call("PUT", path(f"{V3}/sendToDevice", "test.kind", fresh("t")), {"messages": content})
        seen: list[Any] = []

        def all_three(answer: Any) -> bool:
            seen.extend(answer.get("to_device", {}).get("events", []))
            return len(seen) >= 3

        reader.sync_until(all_three)
        assert [(e["sender"], e["type"], e["content"]) for e in seen] == [
            (writer.user, "test.kind", {"count": count}) for count in range(3)
        ]


def device_keys(client: Client, key: Any) -> dict[str, Any]:
    keys = {
        "user_id": client.user,
        "device_id": client.device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"curve25519:{client.device}": "a" * 43, f"ed25519:{client.device}": key.public},
    }
    return key.sign(keys, client.user)


def test_device_lists_keys_and_one_time_keys_cross(newest: Pair) -> None:
    from harness.events import Key

    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    newest.shared(initial_state=[encryption])
    for reader, writer in each_way(newest):
        reader.sync()
        keys = device_keys(writer, Key(writer.device))
        one_time = {f"signed_curve25519:{n}": {"key": f"{n}" * 43, "signatures": {}} for n in range(2)}
        writer.call("POST", f"{V3}/keys/upload", {"device_keys": keys, "one_time_keys": one_time})
        reader.sync_until(lambda answer: writer.user in answer.get("device_lists", {}).get("changed", []))

        def queried() -> Any:
            answer = reader.call("POST", f"{V3}/keys/query", {"device_keys": {writer.user: []}})
            return answer["device_keys"].get(writer.user, {}).get(writer.device)

        assert eventually(queried, "the device's keys")["keys"] == keys["keys"]
        claimed = set()
        for _ in range(2):
            asked = {"one_time_keys": {writer.user: {writer.device: "signed_curve25519"}}}
            answer = reader.call("POST", f"{V3}/keys/claim", asked)
            claimed |= set(answer["one_time_keys"][writer.user][writer.device])
        assert claimed == set(one_time)


# -- what can be asked for -------------------------------------------------------------------------------


def picture() -> bytes:
    import io

    from PIL import Image

    made = io.BytesIO()
    image = Image.new("RGB", (320, 240), (200, 30, 30))
    image.paste((20, 60, 200), (0, 0, 160, 120))
    image.save(made, "PNG")
    return made.getvalue()


def test_media_and_thumbnails_are_fetched_from_the_other_server(newest: Pair) -> None:
    data = picture()
    for reader, writer in each_way(newest):
        place = writer.upload(data, "image/png", filename="flag.png").removeprefix("mxc://").split("/")
        got = reader.raw("GET", path(f"{V1}/media/download", *place))
        assert got.status == 200 and got.body == data, got
        assert got.headers["Content-Type"].startswith("image/png")
        small = reader.raw(
            "GET", path(f"{V1}/media/thumbnail", *place), query={"width": 32, "height": 32, "method": "scale"}
        )
        assert small.status == 200 and small.headers["Content-Type"].startswith("image/"), small
        assert 0 < len(small.body)
        missing = reader.raw("GET", path(f"{V1}/media/download", place[0], "nosuchmedia0000000000000"))
        assert missing.status == 404, missing


def test_the_public_rooms_of_the_other_server_are_listed(newest: Pair) -> None:
    name = fresh("Listed ")
    room = newest.room(visibility="public", name=name)
    hidden = newest.room(name=fresh("Hidden "))

    def listed() -> Any:
        answer = newest.bob.get(f"{V3}/publicRooms", server=newest.host.name, limit=1000)
        return {entry["room_id"]: entry for entry in answer["chunk"]}

    found = eventually(lambda: (rooms := listed()) and room in rooms and rooms, "the room in the list")
    assert found[room]["name"] == name and found[room]["num_joined_members"] == 1
    assert hidden not in found
    target = f"{V3}/publicRooms?server={newest.host.name}"
    searched = newest.bob.call("POST", target, {"filter": {"generic_search_term": name}})
    assert ids_of_rooms(searched["chunk"]) == [room]


def ids_of_rooms(chunk: list[dict[str, Any]]) -> list[str]:
    return [entry["room_id"] for entry in chunk]


def test_a_space_shows_its_rooms_to_the_other_server(newest: Pair) -> None:
    space = newest.shared(creation_content={"type": "m.space"})
    public = newest.room(name="Public child")
    private = newest.room(preset="private_chat", name="Private child")
    for child in (public, private):
        newest.alice.set_state(space, "m.space.child", {"via": [newest.host.name]}, child)
    eventually(lambda: ("m.space.child", private) in state_ids(newest.bob, space), "the children")

    def shown() -> Any:
        rooms = newest.bob.get(path(f"{V1}/rooms", space, "hierarchy"))["rooms"]
        return {room["room_id"]: room for room in rooms}

    rooms = eventually(lambda: (found := shown()) and public in found and found, "the public child")
    assert rooms[public]["name"] == "Public child"
    assert private not in rooms


def test_an_alias_of_the_other_server_is_resolved_and_an_unknown_one_is_not(newest: Pair) -> None:
    name = fresh("alias")
    room = newest.room(room_alias_name=name)
    found = newest.bob.get(path(f"{V3}/directory/room", f"#{name}:{newest.host.name}"))
    assert found["room_id"] == room and newest.host.name in found["servers"]
    unknown = newest.bob.raw("GET", path(f"{V3}/directory/room", f"#no{name}:{newest.host.name}"))
    assert unknown.status == 404 and unknown.errcode == "M_NOT_FOUND"


def test_an_openid_token_names_its_user_to_who_asks_the_server(newest: Pair) -> None:
    for client in (newest.alice, newest.bob):
        token = client.call("POST", f"{V3}/user/{quote(client.user)}/openid/request_token")
        assert token["matrix_server_name"] == host_of(client)
        answer = newest.federation.ask(client.server, "GET", "/_matrix/federation/v1/openid/userinfo", token["access_token"])
        assert answer.json["sub"] == client.user
        refused = newest.federation.ask(client.server, "GET", "/_matrix/federation/v1/openid/userinfo", "nonsense")
        assert refused.status == 401
