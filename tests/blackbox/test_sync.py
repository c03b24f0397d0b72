"""/sync ("Syncing"): what comes, when, and that nothing comes twice or not at all."""

import json
import socket
import threading

import pytest

from harness.client import V3, Client, fresh, ids, joined, of_type, timeline

POLL_S = 15.0


def limit(number, **timeline_filter):
    return {"room": {"timeline": {"limit": number, **timeline_filter}}}


def rooms(answer, kind="join"):
    return answer.get("rooms", {}).get(kind, {})


def members(events):
    return {e["state_key"]: e["content"]["membership"] for e in of_type(events, "m.room.member")}


def state_map(events):
    return {(e["type"], e["state_key"]): e["event_id"] for e in events if "state_key" in e}


LAZY = {"room": {"state": {"lazy_load_members": True}}}


def poll_while(client: Client, act, found):
    """Begins a long poll of two minutes, acts, and gives what `found` finds in what the poll brings.

    Should the server not wake the poll, reading it times out: that is the failure. A poll that
    brought something else (presence, for one) is begun again.
    """
    results: list = []

    def poll():
        while not results:
            query = {"since": client.since, "timeout": 120_000}
            try:
                answer = client.raw("GET", f"{V3}/sync", query=query, timeout=POLL_S)
            except socket.timeout:
                return
            if answer.status != 200:
                return
            client.since = answer.json["next_batch"]
            if result := found(answer.json):
                results.append(result)

    thread = threading.Thread(target=poll)
    thread.start()
    act()
    thread.join()
    assert results, "the long poll slept on"
    return results[0]


# -- initial -------------------------------------------------------------------------------------------


def test_initial_sync_of_a_new_user(alice):
    """Nothing but defaults: no rooms, the push rules, the key counts."""
    answer = alice.sync()
    assert answer["next_batch"]
    assert rooms(answer) == {}
    assert [e["type"] for e in answer["account_data"]["events"] if e["type"] == "m.push_rules"]
    assert isinstance(answer["device_one_time_keys_count"], dict)
    assert answer["device_unused_fallback_key_types"] == []
    assert answer.get("to_device", {}).get("events", []) == []


def test_initial_sync_tells_each_joined_room_whole(alice, bob):
    """State before the timeline, then the timeline; together they are the room."""
    room = alice.room_with(bob, name="Room")
    for n in range(15):
        alice.text(room, str(n))
    part = joined(bob.sync(filter=limit(5)), room)
    assert part["timeline"]["limited"] is True
    assert len(part["timeline"]["events"]) == 5
    assert part["timeline"]["prev_batch"]
    folded = state_map(part["state"]["events"]) | state_map(part["timeline"]["events"])
    assert folded == {key: e["event_id"] for key, e in alice.full_state(room).items()}
    everything = alice.history(room)
    assert ids(part["timeline"]["events"]) == ids(everything)[-5:]
    # A state event of the timeline is not told a second time in `state`.
    whole = joined(bob.sync(since=None, filter=limit(100)), room)
    assert ids(whole["timeline"]["events"]) == ids(everything)
    assert whole["timeline"]["limited"] is False
    assert whole["state"]["events"] == []


def test_summary_of_a_nameless_room(alice, bob, carol):
    """`summary`: heroes without oneself, counts."""
    room = alice.room_with(bob)
    alice.invite(room, carol)
    # Lazily loaded, because Synapse 1.163 sends summaries only then.
    summary = joined(alice.sync(filter=LAZY), room)["summary"]
    assert set(summary["m.heroes"]) == {bob.user, carol.user}
    assert (summary["m.joined_member_count"], summary["m.invited_member_count"]) == (2, 1)


def test_a_second_device_has_its_own_sync(alice, bob):
    room = alice.room_with(bob)
    phone = bob.login()
    bob.sync()
    event = alice.text(room, "x")
    assert ids(timeline(bob.sync(), room)) == [event]
    assert event in ids(timeline(phone.sync(), room))
    assert timeline(bob.sync(), room) == []


# -- incremental ---------------------------------------------------------------------------------------


def test_incremental_sync_brings_what_is_new_once(alice, bob):
    room, quiet = alice.room_with(bob), alice.room_with(bob)
    bob.sync()
    events = [alice.text(room, str(n)) for n in range(3)]
    answer = bob.sync()
    assert ids(timeline(answer, room)) == events
    assert quiet not in rooms(answer)
    assert joined(answer, room)["timeline"].get("limited", False) is False
    assert joined(answer, room).get("state", {}).get("events", []) == []
    assert rooms(bob.sync()) == {}


def test_the_same_token_gives_the_same_again(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    event = alice.text(room, "x")
    for _ in range(3):
        assert ids(timeline(bob.sync(advance=False), room)) == [event]


def test_an_idle_poll_ends_empty(alice):
    alice.sync()
    answer = alice.sync(timeout=300)
    assert rooms(answer) == {}
    assert answer["next_batch"]


def test_every_event_comes_exactly_once_over_many_syncs(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    sent: list[str] = []
    done = threading.Event()

    def talk():
        for n in range(60):
            sent.append(alice.text(room, str(n)))
        done.set()

    seen: list[str] = []
    talker = threading.Thread(target=talk)
    talker.start()
    while not (done.is_set() and len(seen) >= len(sent)):
        answer = bob.sync(timeout=2000, filter=limit(100))
        seen += ids(timeline(answer, room))
        assert not joined(answer, room).get("timeline", {}).get("limited", False)
    talker.join()
    assert seen == sent


def test_state_changes_come_in_the_timeline(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    event = alice.set_state(room, "m.room.name", {"name": "new"})
    part = joined(bob.sync(), room)
    assert ids(part["timeline"]["events"]) == [event]
    assert part.get("state", {}).get("events", []) == []


def test_full_state_brings_all_rooms_and_all_state(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    answer = bob.sync(full_state=True)
    folded = state_map(joined(answer, room)["state"]["events"]) | state_map(timeline(answer, room))
    assert folded == {key: e["event_id"] for key, e in alice.full_state(room).items()}


def test_a_newly_joined_room_comes_whole(alice, bob):
    room = alice.create_room(bob, name="Room")
    for n in range(12):
        alice.text(room, str(n))
    bob.sync()
    bob.join(room)
    part = joined(bob.sync(filter=limit(5)), room)
    folded = state_map(part["state"]["events"]) | state_map(part["timeline"]["events"])
    assert folded == {key: e["event_id"] for key, e in alice.full_state(room).items()}
    assert part["timeline"]["limited"] is True
    # Paging back goes on exactly where the timeline begins (Synapse 1.163 overlaps here).
    older = bob.messages(room, "b", **{"from": part["timeline"]["prev_batch"], "limit": 3})["chunk"]
    everything = ids(bob.history(room))
    first = everything.index(part["timeline"]["events"][0]["event_id"])
    assert ids(older) == everything[first - 3 : first][::-1]


# -- long polling --------------------------------------------------------------------------------------


def test_a_message_wakes_the_poll(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    events = poll_while(bob, lambda: alice.text(room, "wake up"), lambda a: timeline(a, room))
    assert [e["content"]["body"] for e in events] == ["wake up"]


def test_an_invite_wakes_the_poll(alice, bob):
    room = alice.create_room()
    bob.sync()
    assert poll_while(bob, lambda: alice.invite(room, bob), lambda a: room in rooms(a, "invite"))


def test_ones_own_join_wakes_the_poll(alice, bob):
    room = alice.create_room(preset="public_chat")
    bob.sync()
    assert poll_while(bob, lambda: bob.join(room), lambda a: room in rooms(a))


def test_account_data_wakes_the_poll(alice):
    alice.sync()
    target = alice.account_data("account_data", "org.example")
    events = poll_while(
        alice, lambda: alice.call("PUT", target, {"a": 1}), lambda a: a.get("account_data", {}).get("events")
    )
    assert events == [{"type": "org.example", "content": {"a": 1}}]


def test_receipts_and_typing_wake_the_poll(alice, bob):
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    alice.sync()

    def ephemeral(kind):
        return lambda a: of_type(joined(a, room).get("ephemeral", {}).get("events", []), kind)

    assert poll_while(alice, lambda: bob.receipt(room, event), ephemeral("m.receipt"))
    target = bob.room_call(room, "typing", bob.user)
    body = {"typing": True, "timeout": 30000}
    assert poll_while(alice, lambda: bob.call("PUT", target, body), ephemeral("m.typing"))


def test_a_room_one_is_not_in_wakes_nothing(alice, bob):
    bob.sync()
    answer = {}
    thread = threading.Thread(target=lambda: answer.update(bob.sync(timeout=1500)))
    thread.start()
    alice.text(alice.create_room(), "not for bob")
    thread.join()
    assert rooms(answer) == {}


# -- gaps ----------------------------------------------------------------------------------------------


def test_a_gap_is_marked_and_can_be_filled(alice, bob):
    """`limited` and `prev_batch`: /messages from there back to the old token is the gap, exactly."""
    room = alice.room_with(bob)
    bob.sync()
    since = bob.since
    sent = [alice.text(room, str(n)) for n in range(25)]
    part = joined(bob.sync(filter=limit(5)), room)["timeline"]
    assert part["limited"] is True
    assert ids(part["events"]) == sent[-5:]
    gap, query = [], {"from": part["prev_batch"], "to": since}
    while True:
        page = bob.messages(room, "b", limit=7, **query)
        gap += page["chunk"]
        if "end" not in page or not page["chunk"]:
            break
        query["from"] = page["end"]
    assert ids(gap)[::-1] == sent[:-5]


def test_state_that_changed_in_the_gap_is_told(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    hidden = alice.set_state(room, "m.room.name", {"name": "in the gap"})
    for n in range(10):
        alice.text(room, str(n))
    part = joined(bob.sync(filter=limit(5)), room)
    assert ids(part["state"]["events"]) == [hidden]


def test_state_of_the_gap_does_not_contain_the_timelines(alice, bob):
    """`state` is as of the start of the timeline."""
    room = alice.room_with(bob)
    bob.sync()
    before = alice.set_state(room, "m.room.name", {"name": "before"})
    for n in range(5):
        alice.text(room, str(n))
    after = alice.set_state(room, "m.room.name", {"name": "after"})
    part = joined(bob.sync(filter=limit(2)), room)
    assert ids(part["state"]["events"]) == [before]
    assert after in ids(part["timeline"]["events"])


# -- state_after ---------------------------------------------------------------------------------------


def test_state_after_is_the_state_at_the_end(alice, bob):
    """v1.16: with use_state_after `state` is omitted and `state_after` holds what changed up to the end."""
    # Synapse 1.163 knows it by its unstable name (MSC4222) only.
    room = alice.room_with(bob)
    first = joined(bob.sync(use_state_after=True, filter=limit(3)), room)
    assert "state" not in first
    full = {key: e["event_id"] for key, e in alice.full_state(room).items()}
    assert state_map(first["state_after"]["events"]) == full
    alice.set_state(room, "m.room.name", {"name": "one"})
    for n in range(5):
        alice.text(room, str(n))
    two = alice.set_state(room, "m.room.name", {"name": "two"})
    part = joined(bob.sync(use_state_after=True, filter=limit(3)), room)
    assert "state" not in part
    assert ids(part["state_after"]["events"]) == [two]


# -- filters -------------------------------------------------------------------------------------------


def test_stored_and_inline_filters_do_the_same(alice, bob):
    room = alice.room_with(bob)
    alice.text(room, "x")
    alice.send(room, "org.example", {})
    wanted = limit(20, types=["org.example"])
    stored = bob.call("POST", bob.account_data("filter"), wanted)["filter_id"]
    for chosen in (stored, wanted):
        events = timeline(bob.sync(since=None, filter=chosen), room)
        assert [e["type"] for e in events] == ["org.example"]


def test_a_filtered_timeline_looks_past_what_it_leaves_out(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    wanted = alice.send(room, "org.example", {})
    for n in range(8):
        alice.text(room, str(n))
    assert ids(timeline(bob.sync(filter=limit(5, types=["org.example"])), room)) == [wanted]


@pytest.mark.parametrize("bad", ["{", "[]", '{"room":5}', "nosuchfilter"])
def test_malformed_filters_are_400(alice, bad):
    answer = alice.raw("GET", f"{V3}/sync", query={"filter": bad})
    assert answer.status in (400, 404), answer  # Synapse 1.163 answers 500 to the third


def test_rooms_can_be_chosen(alice):
    one, two = alice.create_room(), alice.create_room()
    assert set(rooms(alice.sync(filter={"room": {"rooms": [one]}}))) == {one}
    # Synapse 1.163 does not apply `not_rooms` to an initial sync.
    assert set(rooms(alice.sync(since=None, filter={"room": {"not_rooms": [one]}}))) == {two}
    assert rooms(alice.sync(since=None, filter={"room": {"rooms": []}})) == {}


def test_sections_can_be_silenced(alice, bob):
    room = alice.room_with(bob)
    event = alice.text(room, "x")
    bob.receipt(room, event)
    alice.call("PUT", alice.account_data("rooms", room, "account_data", "org.example"), {})
    silent = {"not_types": ["*"]}
    everything = {
        "room": {"state": silent, "timeline": silent, "ephemeral": silent, "account_data": silent},
        "account_data": silent,
        "presence": silent,
    }
    answer = alice.sync(filter=everything)
    part = joined(answer, room)
    for section in ("state", "timeline", "ephemeral", "account_data"):
        assert part.get(section, {}).get("events", []) == []
    assert answer.get("account_data", {}).get("events", []) == []


def test_senders_can_be_left_out(alice, bob):
    room = alice.room_with(bob)
    alice.text(room, "hers")
    mine = bob.text(room, "his")
    events = timeline(alice.sync(filter=limit(20, not_senders=[alice.user], types=["m.room.message"])), room)
    assert ids(events) == [mine]


def test_members_are_loaded_lazily(alice, bob, carol):
    """#lazy-loading-room-members: only the members that the timeline needs."""
    room = alice.room_with(bob, carol, name="a name, or all would be heroes")
    for n in range(5):
        bob.text(room, str(n))
    lazy = {"room": {"timeline": {"limit": 3}, "state": {"lazy_load_members": True}}}
    told = members(joined(alice.sync(filter=lazy), room)["state"]["events"])
    assert bob.user in told
    assert carol.user not in told
    carol.text(room, "me too")
    part = joined(alice.sync(filter=lazy), room)
    assert carol.user in members(part["state"]["events"])
    carol.text(room, "again")
    assert members(joined(alice.sync(filter=lazy), room).get("state", {}).get("events", [])).keys() <= {carol.user}


def test_redundant_members_come_when_asked_for(alice, bob):
    room = alice.room_with(bob)
    lazy = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    alice.sync(filter=lazy)
    for n in range(2):
        bob.text(room, str(n))
        assert bob.user in members(joined(alice.sync(filter=lazy), room)["state"]["events"])


# -- invites, knocks, leaves ---------------------------------------------------------------------------


def test_an_invite_brings_stripped_state(alice, bob):
    """#stripped-state"""
    alice.call("PUT", f"{V3}/profile/{alice.user}/displayname", {"displayname": "Alice"})
    bob.sync()
    room = alice.create_room(bob, name="Party", preset="public_chat")
    answer = bob.sync_until(lambda a: a if rooms(a, "invite") else None)
    events = rooms(answer, "invite")[room]["invite_state"]["events"]
    by_key = {(e["type"], e["state_key"]): e for e in events}
    invite = by_key["m.room.member", bob.user]
    assert (invite["content"]["membership"], invite["sender"]) == ("invite", alice.user)
    assert by_key["m.room.name", ""]["content"] == {"name": "Party"}
    assert by_key["m.room.join_rules", ""]["content"]["join_rule"] == "public"
    assert by_key["m.room.create", ""]["content"]["room_version"] == "12"
    for event in events:
        assert {"type", "state_key", "content", "sender"} <= set(event)
    assert room not in rooms(bob.sync(), "invite")
    assert room in rooms(bob.sync(since=None), "invite")


def test_a_rejected_invite_is_a_leave(alice, bob):
    room = alice.create_room(bob)
    bob.sync()
    bob.leave(room)
    assert room in rooms(bob.sync(), "leave")
    assert room not in rooms(bob.sync(), "leave")
    assert room not in rooms(bob.sync(since=None), "invite")


def test_an_accepted_invite_moves_to_join(alice, bob):
    room = alice.create_room(bob)
    bob.sync()
    bob.join(room)
    answer = bob.sync()
    assert room in rooms(answer)
    assert room not in rooms(answer, "invite")


def test_a_knock_brings_stripped_state(alice, bob):
    """v1.1: rooms.knock."""
    knockable = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room = alice.create_room(name="Club", initial_state=[knockable])
    bob.sync()
    bob.knock(room)
    answer = bob.sync_until(lambda a: a if rooms(a, "knock") else None)
    by_key = {(e["type"], e["state_key"]): e for e in rooms(answer, "knock")[room]["knock_state"]["events"]}
    assert by_key["m.room.member", bob.user]["content"]["membership"] == "knock"
    assert by_key["m.room.name", ""]["content"] == {"name": "Club"}


def test_leaving_is_told_once_with_what_came_before(alice, bob):
    room = alice.room_with(bob)
    bob.sync()
    event = alice.text(room, "goodbye")
    bob.leave(room)
    alice.text(room, "not for bob")
    answer = bob.sync()
    assert room not in rooms(answer)
    told = timeline(answer, room, "leave")
    assert told[0]["event_id"] == event
    assert (told[-1]["type"], told[-1]["content"]["membership"]) == ("m.room.member", "leave")
    assert len(told) == 2
    assert rooms(bob.sync(), "leave") == {}


@pytest.mark.parametrize("verb", ["kick", "ban"])
def test_being_removed_is_a_leave(alice, bob, verb):
    room = alice.room_with(bob)
    bob.sync()
    told = poll_while(bob, lambda: alice.member(verb, room, bob), lambda a: timeline(a, room, "leave"))
    last = told[-1]
    assert last["content"]["membership"] == ("ban" if verb == "ban" else "leave")
    assert last["sender"] == alice.user


def test_left_rooms_come_initially_only_when_asked_for(alice, bob):
    """`include_leave`"""
    room = alice.room_with(bob)
    bob.leave(room)
    assert room not in rooms(bob.sync(), "leave")
    asked = bob.sync(since=None, filter={"room": {"include_leave": True}})
    assert timeline(asked, room, "leave")[-1]["content"]["membership"] == "leave"


def test_a_short_visit_between_two_syncs_is_a_leave(alice, bob):
    room = alice.create_room(preset="public_chat")
    bob.sync()
    bob.join(room)
    bob.leave(room)
    answer = bob.sync()
    assert room not in rooms(answer)
    assert room in rooms(answer, "leave")


def test_leave_and_return_between_two_syncs_is_a_join(alice, bob):
    room = alice.create_room(preset="public_chat")
    bob.join(room)
    bob.sync()
    bob.leave(room)
    missed = alice.text(room, "while away")
    bob.join(room)
    answer = bob.sync()
    assert room in rooms(answer)
    assert room not in rooms(answer, "leave")
    assert missed in ids(timeline(answer, room)) or joined(answer, room)["timeline"]["limited"]


# -- other fields --------------------------------------------------------------------------------------


def test_ignored_users_are_not_heard(alice, bob, carol):
    """#ignoring-users: events of ignored users are withheld, and so are their invites."""
    room = alice.room_with(bob, carol)
    ignored = {"ignored_users": {bob.user: {}}}
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), ignored)
    alice.sync()
    bob.text(room, "noise")
    bob.create_room(alice)
    heard = carol.text(room, "music")
    answer = alice.sync_until(lambda a: a if timeline(a, room) else None)
    assert ids(timeline(answer, room)) == [heard]
    assert rooms(answer, "invite") == {}


def test_presence_parameter_is_accepted(alice):
    for value in ("offline", "online", "unavailable"):
        assert alice.sync(set_presence=value)["next_batch"]


def test_filters_with_unknown_keys_are_accepted(alice):
    room = alice.create_room(name=fresh())
    assert room in rooms(alice.sync(filter=json.dumps({"org.example": 1, "room": {"org.example": []}})))
