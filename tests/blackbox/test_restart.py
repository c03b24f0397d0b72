"""What was acknowledged is there after a restart: sessions, rooms, positions, transaction ids, media."""

import pytest

from harness.client import PASSWORD, V1, V3, Client, fresh, ids, joined, password_login, timeline
from harness.wire import path


@pytest.fixture
def home(make_server):
    return make_server()


@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_everything_survives(home, how):
    alice, bob = Client.register(home), Client.register(home)
    alice.call("PUT", path(f"{V3}/profile", alice.user, "displayname"), {"displayname": "Alice"})
    alias = fresh("alias")
    room = alice.room_with(bob, name="Room", room_alias_name=alias)
    stored = bob.call("POST", bob.account_data("filter"), {"room": {"timeline": {"limit": 3}}})["filter_id"]
    alice.call("PUT", alice.account_data("account_data", "org.example"), {"kept": True})
    alice.call("PUT", path(alice.account_data("rooms", room, "tags"), "u.kept"), {"order": 0.5})
    never = {"kind": "event_match", "key": "type", "pattern": "org.example.never"}
    bob.call("PUT", f"{V3}/pushrules/global/override/mine", {"actions": [], "conditions": [never]})
    uri = alice.upload(b"kept bytes", "text/plain", filename="kept.txt")
    bob.sync()
    txn = fresh("t")
    events = [alice.text(room, "one", txn)]
    reaction = bob.react(room, events[0])
    bob.receipt(room, events[0])
    events.append(alice.text(room, "two"))
    gone = alice.text(room, "gone")
    alice.redact(room, gone)
    before = alice.history(room)
    state = {key: e["event_id"] for key, e in alice.full_state(room).items()}

    if how == "restart":
        home.restart()
    else:
        home.kill9()
        home.start()

    assert alice.get(f"{V3}/account/whoami")["device_id"] == alice.device
    assert Client(home).call("POST", f"{V3}/login", password_login(bob.user, PASSWORD))["user_id"] == bob.user
    after = alice.history(room)
    assert ids(after) == ids(before)
    assert [e["content"] for e in after] == [e["content"] for e in before]
    assert {key: e["event_id"] for key, e in alice.full_state(room).items()} == state
    assert alice.event(room, gone)["content"] == {}
    assert alice.text(room, "one again", txn) == events[0]
    assert ids(alice.get(path(f"{V1}/rooms", room, "relations", events[0], "m.annotation"))["chunk"]) == [reaction]
    assert alice.get(path(f"{V3}/directory/room", f"#{alias}:{alice.server_name}"))["room_id"] == room
    assert alice.get(alice.account_data("account_data", "org.example")) == {"kept": True}
    assert alice.get(alice.account_data("rooms", room, "tags"))["tags"] == {"u.kept": {"order": 0.5}}
    assert bob.get(f"{V3}/pushrules/global/override/mine")["rule_id"] == "mine"
    assert bob.get(path(f"{V3}/profile", alice.user, "displayname")) == {"displayname": "Alice"}
    server, media = uri.removeprefix("mxc://").split("/")
    assert alice.raw("GET", path(f"{V1}/media/download", server, media)).body == b"kept bytes"

    answer = bob.sync(filter=stored)
    assert len(timeline(answer, room)) == 3
    assert joined(answer, room)["timeline"]["limited"] is True
    counts = joined(bob.sync(since=None, advance=False), room)["unread_notifications"]
    assert counts["notification_count"] == 1


def test_sync_goes_on_from_a_token_of_before(home):
    """No event is lost or told twice across a restart."""
    alice, bob = Client.register(home), Client.register(home)
    room = alice.room_with(bob)
    bob.sync()
    sent = [alice.text(room, "before")]
    home.restart()
    sent.append(alice.text(room, "after"))
    assert ids(timeline(bob.sync(), room)) == sent
    assert timeline(bob.sync(), room) == []


def test_deleted_sessions_stay_deleted(home):
    alice = Client.register(home)
    phone = alice.login()
    phone.call("POST", f"{V3}/logout")
    home.restart()
    assert phone.raw("GET", f"{V3}/account/whoami").errcode == "M_UNKNOWN_TOKEN"
    assert alice.get(f"{V3}/account/whoami")


@pytest.mark.own_server
def test_refresh_tokens_survive(home):
    alice = Client.register(home)
    body = password_login(alice.user, PASSWORD, refresh_token=True)
    first = alice.call("POST", f"{V3}/login", body)
    home.restart()
    second = alice.call("POST", f"{V3}/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    assert Client(home, {**first, **second}).get(f"{V3}/account/whoami")["device_id"] == first["device_id"]
