"""createRoom: presets, options and room versions (#post_matrixclientv3createroom)."""

import pytest

from harness.client import V3, fresh, ids, timeline

VERSIONS = ["10", "11", "12"]


def refused(client, **options):
    answer = client.raw("POST", f"{V3}/createRoom", options)
    assert answer.status >= 400, answer
    assert answer.status < 500, answer
    return answer


def content(client, room, kind):
    return client.state(room, kind)


@pytest.mark.parametrize(
    ("preset", "join_rule", "guest_access"),
    [
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_presets(alice, version, preset, join_rule, guest_access):
    room = alice.create_room(preset=preset, room_version=version)
    assert content(alice, room, "m.room.join_rules")["join_rule"] == join_rule
    assert content(alice, room, "m.room.history_visibility") == {"history_visibility": "shared"}
    # "forbidden" may be said by silence: it is the default of the event.
    state = alice.full_state(room)
    guests = state.get(("m.room.guest_access", ""), {"content": {"guest_access": "forbidden"}})
    assert guests["content"]["guest_access"] == guest_access
    assert content(alice, room, "m.room.create")["room_version"] == version


@pytest.mark.parametrize(("visibility", "join_rule"), [("public", "public"), ("private", "invite"), (None, "invite")])
def test_visibility_chooses_the_preset_and_publishes(alice, nobody, visibility, join_rule):
    room = alice.create_room(**({"visibility": visibility} if visibility else {}))
    assert content(alice, room, "m.room.join_rules")["join_rule"] == join_rule
    listed = nobody.get(f"{V3}/directory/list/room/{room}")["visibility"]
    assert listed == ("public" if visibility == "public" else "private")


def test_default_version_is_12_and_its_room_id_is_the_create_event(alice):
    """rooms/v12: the room id is the hash of the create event and has no domain."""
    room = alice.create_room()
    create = alice.full_state(room)["m.room.create", ""]
    assert create["content"]["room_version"] == "12"
    assert create["event_id"][1:] == room[1:]
    assert ":" not in room
    assert create["room_id"] == room


@pytest.mark.parametrize("version", ["10", "11"])
def test_older_room_ids_have_a_domain(alice, version):
    room = alice.create_room(room_version=version)
    assert room.endswith(f":{alice.server_name}")


def test_creator_key_is_gone_since_v11(alice):
    """rooms/v11: `creator` removed from m.room.create."""
    old = alice.create_room(room_version="10")
    assert content(alice, old, "m.room.create")["creator"] == alice.user
    for version in ("11", "12"):
        assert "creator" not in content(alice, alice.create_room(room_version=version), "m.room.create")


@pytest.mark.parametrize("version", VERSIONS)
def test_creator_power(alice, version):
    """rooms/v12: creators are above all numbers and not listed; before, they have 100."""
    users = content(alice, alice.create_room(room_version=version), "m.room.power_levels").get("users", {})
    assert users == ({} if version == "12" else {alice.user: 100})


@pytest.mark.parametrize("version", VERSIONS)
def test_trusted_private_chat_gives_invitees_the_creators_power(alice, bob, version):
    room = alice.create_room(bob, preset="trusted_private_chat", room_version=version)
    if version == "12":
        assert content(alice, room, "m.room.create")["additional_creators"] == [bob.user]
        assert bob.user not in content(alice, room, "m.room.power_levels").get("users", {})
    else:
        assert content(alice, room, "m.room.power_levels")["users"][bob.user] == 100
    bob.join(room)
    bob.set_state(room, "m.room.name", {"name": "bob may"})


def test_additional_creators_must_be_user_ids(alice):
    """rooms/v12, rule 1.4."""
    answer = refused(alice, room_version="12", creation_content={"additional_creators": ["not a user id"]})
    assert answer.status == 400, answer


def test_creator_may_not_be_in_power_levels_of_v12(alice):
    """rooms/v12, rule 10.4: creators are not in `users`."""
    override = {"users": {alice.user: 100}}
    assert refused(alice, room_version="12", power_level_content_override=override).status == 400
    room = alice.create_room(room_version="12")
    levels = content(alice, room, "m.room.power_levels")
    target = alice.room_call(room, "state", "m.room.power_levels")
    answer = alice.raw("PUT", target, {**levels, "users": {alice.user: 100}})
    assert answer.status in (400, 403), answer


def test_events_come_in_the_promised_order(alice, bob):
    """The order of 1. to 9. in the endpoint's description."""
    alias = fresh("alias")
    room = alice.create_room(
        bob,
        room_alias_name=alias,
        name="Name",
        topic="Topic",
        preset="public_chat",
        initial_state=[{"type": "org.example.first", "state_key": "k", "content": {"a": 1}}],
    )
    events = alice.history(room)
    order = [(e["type"], e["state_key"]) for e in events]
    assert order[:3] == [("m.room.create", ""), ("m.room.member", alice.user), ("m.room.power_levels", "")]
    rest = [kind for kind, _ in order[3:]]
    stages = [
        ["m.room.canonical_alias"],
        ["m.room.join_rules", "m.room.history_visibility", "m.room.guest_access"],
        ["org.example.first"],
        ["m.room.name", "m.room.topic"],
        ["m.room.member"],
    ]
    placed = [next(i for i, stage in enumerate(stages) if kind in stage) for kind in rest]
    assert placed == sorted(placed), rest
    assert len(set(order)) == len(order)


def test_name_topic_and_alias(alice, nobody):
    alias = fresh("alias")
    room = alice.create_room(name="The name", topic="The topic", room_alias_name=alias)
    full = f"#{alias}:{alice.server_name}"
    assert content(alice, room, "m.room.name") == {"name": "The name"}
    assert content(alice, room, "m.room.topic")["topic"] == "The topic"
    assert content(alice, room, "m.room.canonical_alias") == {"alias": full}
    assert nobody.get(f"{V3}/directory/room/%23{alias}:{alice.server_name}")["room_id"] == room


def test_topic_has_a_plain_text_representation(alice):
    """v1.15: m.topic with a text/plain m.text."""
    room = alice.create_room(topic="Plain")
    texts = content(alice, room, "m.room.topic")["m.topic"]["m.text"]
    assert {"body": "Plain"} in [{k: v for k, v in t.items() if k == "body"} for t in texts]


def test_alias_in_use_is_room_in_use(alice):
    alias = fresh("alias")
    alice.create_room(room_alias_name=alias)
    answer = refused(alice, room_alias_name=alias)
    assert (answer.status, answer.errcode) == (400, "M_ROOM_IN_USE"), answer


def test_unknown_version_is_unsupported(alice):
    answer = refused(alice, room_version="org.example.no.such")
    assert (answer.status, answer.errcode) == (400, "M_UNSUPPORTED_ROOM_VERSION"), answer


def test_initial_state_beats_the_preset(alice):
    room = alice.create_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}},
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
        ],
    )
    assert content(alice, room, "m.room.join_rules")["join_rule"] == "knock"
    assert content(alice, room, "m.room.history_visibility")["history_visibility"] == "joined"
    assert content(alice, room, "m.room.encryption")["algorithm"] == "m.megolm.v1.aes-sha2"


def test_name_beats_initial_state(alice):
    state = [{"type": "m.room.name", "content": {"name": "from state"}}]
    room = alice.create_room(name="from name", initial_state=state)
    assert content(alice, room, "m.room.name") == {"name": "from name"}


@pytest.mark.parametrize("version", VERSIONS)
def test_power_levels_can_be_overridden(alice, version):
    override = {"invite": 77, "events": {"m.room.name": 33}, "users_default": 5}
    room = alice.create_room(room_version=version, power_level_content_override=override)
    levels = content(alice, room, "m.room.power_levels")
    assert levels["invite"] == 77
    assert levels["users_default"] == 5
    assert levels["events"]["m.room.name"] == 33
    assert levels["ban"] == 50


def test_creation_content_is_kept_but_not_the_servers_keys(alice):
    extra = {"m.federate": False, "type": "m.space", "org.example": 1, "room_version": "1", "creator": "@x:y"}
    create = content(alice, alice.create_room(creation_content=extra), "m.room.create")
    assert (create["m.federate"], create["type"], create["org.example"]) == (False, "m.space", 1)
    assert create["room_version"] == "12"


def test_invites_carry_is_direct(alice, bob):
    room = alice.create_room(bob, is_direct=True)
    member = alice.full_state(room)["m.room.member", bob.user]["content"]
    assert (member["membership"], member["is_direct"]) == ("invite", True)
    assert room in bob.sync()["rooms"]["invite"]


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "no_such_preset"},
        {"room_alias_name": "with space:and colon"},
        {"initial_state": "not a list"},
        {"initial_state": [{"content": {}}]},
        {"power_level_content_override": []},
        {"invite": ["not a user id"]},
        {"creation_content": 5},
        {"room_version": 12},
    ],
)
def test_malformed_options_are_400(alice, options):
    # Synapse 1.163 answers 500 or makes the room for some of them.
    assert refused(alice, **options).status == 400
    assert alice.get(f"{V3}/joined_rooms")["joined_rooms"] == []


def test_new_room_reaches_the_creators_sync(alice):
    alice.sync()
    room = alice.create_room(name="New")
    answer = alice.sync_until(lambda a: a if timeline(a, room) else None)
    part = answer["rooms"]["join"][room]
    events = part["state"]["events"] + part["timeline"]["events"]
    assert sorted(ids(events)) == sorted(ids(alice.history(room)))
