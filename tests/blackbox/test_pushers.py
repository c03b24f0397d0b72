"""Pushers, and what a push gateway is told ("Push Notifications", Push Gateway API)."""

import pytest

from harness.client import V3, Client, fresh, joined
from harness.gateway import Gateway
from harness.wire import path

PUSHERS = f"{V3}/pushers"
SET = f"{V3}/pushers/set"


@pytest.fixture
def home(make_server):
    """A server that may reach gateways on this machine."""
    return make_server(federation__allow_private_ips=True)


@pytest.fixture
def gateway():
    running = Gateway()
    yield running
    running.stop()


def pusher(url="https://push.example.org/_matrix/push/v1/notify", **more):
    body = {
        "app_id": "org.example.app",
        "pushkey": fresh("key"),
        "kind": "http",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "lang": "en",
        "data": {"url": url, "own": {"x": 1}},
    }
    return {**body, **more}


def add(client, gateway, **more):
    body = pusher(gateway.url, **more)
    client.call("POST", SET, body)
    return body


def listed(client):
    return client.get(PUSHERS)["pushers"]


def test_a_pusher_is_listed_as_it_was_set_and_deleted_by_null(alice, bob):
    body = pusher(profile_tag="tag")
    assert alice.call("POST", SET, body) == {}
    (shown,) = listed(alice)
    assert {key: shown[key] for key in body} == body
    assert shown["org.matrix.msc3881.device_id"] == alice.device
    assert shown["org.matrix.msc3881.enabled"] is True
    assert listed(bob) == []
    changed = {**body, "lang": "de"}
    alice.call("POST", SET, changed)
    assert [p["lang"] for p in listed(alice)] == ["de"]
    name = {key: body[key] for key in ("app_id", "pushkey")}
    alice.call("POST", SET, {**name, "kind": None})
    assert listed(alice) == []
    assert alice.raw("POST", SET, name).errcode == "M_MISSING_PARAM"


@pytest.mark.parametrize("lacking", ["app_id", "pushkey", "lang", "data", "app_display_name", "device_display_name"])
def test_what_is_required_is_missed(alice, lacking):
    body = pusher()
    del body[lacking]
    answer = alice.raw("POST", SET, body)
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM"), answer


@pytest.mark.parametrize(
    "wrong",
    [
        {"app_id": "x" * 65},
        {"pushkey": "x" * 513},
        {"kind": "pigeon"},
        {"data": {"url": "https://push.example.org/notify"}},
        {"data": {"url": "https://user@push.example.org/_matrix/push/v1/notify"}},
        {"data": {"url": "http://push.example.org/_matrix/push/v1/notify"}},
        {"data": {"url": "file:///_matrix/push/v1/notify"}},
    ],
)
def test_what_no_pusher_can_be_is_refused(alice, wrong):
    answer = alice.raw("POST", SET, pusher(**wrong))
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer
    assert listed(alice) == []
    assert alice.raw("POST", SET, pusher(data={})).errcode == "M_MISSING_PARAM"


def test_a_phone_that_changes_hands_takes_its_pusher_along_unless_it_is_shared(alice, bob, carol):
    body = pusher()
    alice.call("POST", SET, body)
    bob.call("POST", SET, {**body, "append": True})
    assert len(listed(alice)) == len(listed(bob)) == 1
    carol.call("POST", SET, body)
    assert (listed(alice), listed(bob), len(listed(carol))) == ([], [], 1)


def test_pushers_end_with_their_device(alice):
    phone, laptop = alice.login(), alice.login()
    phone.call("POST", SET, pusher())
    laptop.call("POST", SET, pusher())
    assert len(listed(alice)) == 2
    phone.call("POST", f"{V3}/logout")
    assert [p["org.matrix.msc3881.device_id"] for p in listed(alice)] == [laptop.device]


@pytest.mark.parametrize("logout", [True, False])
def test_a_new_password_ends_the_pushers_of_the_devices_that_it_logs_out(alice, logout):
    other = alice.login()
    other.call("POST", SET, pusher())
    mine = pusher()
    alice.call("POST", SET, mine)
    body = {"new_password": "another battery staple", "logout_devices": logout}
    session = alice.raw("POST", f"{V3}/account/password", body).json["session"]
    identifier = {"type": "m.id.user", "user": alice.user}
    auth = {"type": "m.login.password", "identifier": identifier, "password": alice.password, "session": session}
    alice.call("POST", f"{V3}/account/password", {**body, "auth": auth})
    left = [p["pushkey"] for p in listed(alice)]
    assert mine["pushkey"] in left
    assert len(left) == (1 if logout else 2)


def two(home):
    return Client.register(home), Client.register(home)


def test_a_gateway_is_told_of_a_message_and_of_nothing_else(home, gateway):
    alice, bob = two(home)
    bob.call("PUT", path(f"{V3}/profile", bob.user, "displayname"), {"displayname": "Bob B."})
    room = alice.room_with(bob, name="Mission", room_alias_name=fresh("a"))
    body = add(alice, gateway)
    own = alice.text(room, "mine")
    topic = bob.raw("PUT", bob.room_call(room, "state", "m.room.topic", ""), {"topic": "no"})
    assert topic.status == 403
    said = bob.text(room, "hello")
    told = gateway.event(said)
    assert told["room_id"] == room
    assert (told["type"], told["sender"], told["content"]["body"]) == ("m.room.message", bob.user, "hello")
    assert (told["sender_display_name"], told["room_name"]) == ("Bob B.", "Mission")
    assert told["room_alias"].startswith("#")
    assert told["counts"] == {"unread": 1}
    assert told["prio"] == "high"  # a room of two: the rule for it has a sound
    (device,) = told["devices"]
    assert (device["app_id"], device["pushkey"]) == (body["app_id"], body["pushkey"])
    assert device["data"] == {"own": {"x": 1}}
    assert device["tweaks"]["sound"] == "default"
    assert device["pushkey_ts"] < 10_000_000_000, "seconds"
    assert own not in gateway.ids()
    assert gateway.ids() == [said]


def test_who_wants_ids_only_is_told_no_more(home, gateway):
    alice, bob = two(home)
    room = alice.room_with(bob)
    add(alice, gateway, data={"url": gateway.url, "format": "event_id_only"})
    told = gateway.event(bob.text(room, "secret"))
    assert "secret" not in str(told)
    assert not {"sender", "content", "type", "room_name"} & set(told)
    assert (told["room_id"], told["counts"]) == (room, {"unread": 1})
    assert told["devices"][0]["data"] == {"format": "event_id_only"}


def test_an_invite_is_told_and_the_rest_of_the_room_is_not(home, gateway):
    alice, bob = two(home)
    add(alice, gateway)
    room = bob.create_room(alice, name="Party")
    told = gateway.wait(lambda g: g.told)[0]
    assert (told["type"], told["user_is_target"]) == ("m.room.member", True)
    assert told["content"]["membership"] == "invite"
    before = bob.text(room, "before she came")
    alice.join(room)
    after = bob.text(room, "after")
    gateway.event(after)
    assert before not in gateway.ids()


def test_rules_decide_who_is_told_and_how(home, gateway):
    alice, bob = two(home)
    carol = Client.register(home)
    room = alice.room_with(bob, carol)
    add(alice, gateway)
    rules = f"{V3}/pushrules/global"
    tweak = {"set_tweak": "org.example.light", "value": {"colour": "red"}}
    actions = ["notify", {"set_tweak": "highlight"}, tweak]
    alice.call("PUT", path(rules, "content", "cake"), {"pattern": "cake", "actions": actions})
    alice.call("PUT", path(rules, "sender", carol.user), {"actions": []})
    plain = gateway.event(bob.text(room, "plain"))
    assert (plain["prio"], plain["devices"][0]["tweaks"]) == ("low", {})
    silent = carol.text(room, "silent")
    loud = gateway.event(carol.text(room, "there is cake"))
    assert loud["prio"] == "high"
    assert loud["devices"][0]["tweaks"] == {"highlight": True, "org.example.light": {"colour": "red"}}
    assert silent not in gateway.ids()
    alice.call("PUT", path(rules, "override", ".m.rule.master", "enabled"), {"enabled": True})
    muted = bob.text(room, "cake, but nobody is told")
    alice.call("PUT", path(rules, "override", ".m.rule.master", "enabled"), {"enabled": False})
    gateway.event(bob.text(room, "last"))
    assert muted not in gateway.ids() or gateway.ids()[-1] != muted


def test_who_is_ignored_is_not_told_of(home, gateway):
    alice, bob = two(home)
    carol = Client.register(home)
    room = alice.room_with(bob, carol)
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), {"ignored_users": {carol.user: {}}})
    add(alice, gateway)
    ignored = carol.text(room, f"hey {alice.user}")
    told = gateway.event(bob.text(room, "hello"))
    assert ignored not in gateway.ids()
    assert told["counts"] == {"unread": 1}
    assert joined(alice.sync(), room)["unread_notifications"]["notification_count"] == 1


def test_the_count_is_that_of_sync_in_all_rooms(home, gateway):
    alice, bob = two(home)
    rooms = [alice.room_with(bob) for _ in range(3)]
    add(alice, gateway)
    for number, room in enumerate(rooms):
        bob.text(room, "one")
        told = gateway.event(bob.text(room, "two"))
        assert told["counts"] == {"unread": 2 * number + 2}
    answer = alice.sync()
    counts = [joined(answer, room)["unread_notifications"]["notification_count"] for room in rooms]
    assert counts == [2, 2, 2]


def test_the_badge_goes_when_everything_is_read_and_only_then(home, gateway):
    alice, bob = two(home)
    first, second = alice.room_with(bob), alice.room_with(bob)
    add(alice, gateway)
    one, two_ = bob.text(first, "one"), bob.text(second, "two")
    gateway.event(one)
    gateway.event(two_)
    alice.receipt(first, one)
    alice.receipt(second, two_, kind="m.read.private")
    bare = gateway.wait(lambda g: [n for n in g.told if "event_id" not in n])
    assert [n["counts"] for n in bare] == [{"unread": 0}]
    assert len(bare[0]["devices"]) == 1


def test_what_was_read_before_it_could_be_told_is_not_told(home, gateway):
    alice, bob = two(home)
    room = alice.room_with(bob)
    add(alice, gateway)
    gateway.open.clear()
    bob.text(room, "on its way")
    gateway.wait(lambda g: g.asked == 1)
    read = [bob.text(room, f"read {n}") for n in range(3)]
    alice.receipt(room, read[-1])
    unread = bob.text(room, "unread")
    gateway.open.set()
    gateway.event(unread)
    assert not set(read) & set(gateway.ids())


def test_events_arrive_once_and_in_order_one_at_a_time(home, gateway):
    alice, bob = two(home)
    rooms = [alice.room_with(bob) for _ in range(3)]
    add(alice, gateway)
    said = [bob.text(rooms[n % 3], str(n)) for n in range(30)]
    gateway.event(said[-1])
    assert gateway.ids() == said
    assert gateway.at_once_max == 1


def test_a_gateway_that_was_gone_is_told_in_order_when_it_is_back(home, gateway):
    alice, bob = two(home)
    room = alice.room_with(bob)
    add(alice, gateway)
    gateway.status = 502
    said = [bob.text(room, str(n)) for n in range(3)]
    gateway.wait(lambda g: g.asked >= 2, "another try")
    assert gateway.told == []
    gateway.status = 200
    gateway.event(said[-1])
    assert gateway.ids() == said


def test_a_dead_gateway_holds_up_no_other(home, gateway):
    alice, bob = two(home)
    room = alice.room_with(bob)
    dead = Gateway()
    dead.open.clear()
    try:
        add(alice, dead)
        add(alice, gateway)
        said = [bob.text(room, str(n)) for n in range(5)]
        dead.wait(lambda g: g.asked)
        gateway.event(said[-1])
        assert dead.told == []
    finally:
        dead.stop()


def test_a_rejected_key_ends_its_pusher(home, gateway):
    alice, bob = two(home)
    room = alice.room_with(bob)
    body = add(alice, gateway)
    gateway.rejected = [body["pushkey"]]
    gateway.event(bob.text(room, "one"))
    alice.sync_until(lambda _: listed(alice) == [])
    bob.text(room, "two")
    # Another pusher hears of the next message; the rejected one hears nothing any more.
    gateway.rejected = []
    other = add(alice, gateway)
    said = bob.text(room, "three")
    told = gateway.event(said)
    assert told["devices"][0]["pushkey"] == other["pushkey"]
    assert len(gateway.told) == 2


def test_a_pusher_that_is_switched_off_is_told_nothing_and_nothing_afterwards(home, gateway):
    """MSC3881"""
    alice, bob = two(home)
    room = alice.room_with(bob)
    body = add(alice, gateway)
    gateway.event(bob.text(room, "on"))
    alice.call("POST", SET, {**body, "org.matrix.msc3881.enabled": False})
    assert listed(alice)[0]["org.matrix.msc3881.enabled"] is False
    off = bob.text(room, "off")
    alice.call("POST", SET, {**body, "org.matrix.msc3881.enabled": True})
    gateway.event(bob.text(room, "on again"))
    assert off not in gateway.ids()


def test_who_left_is_told_nothing_more(home, gateway):
    alice, bob = two(home)
    room, other = alice.room_with(bob), alice.room_with(bob)
    add(alice, gateway)
    gateway.event(bob.text(room, "in"))
    alice.leave(room)
    bob.text(room, "out")
    gateway.event(bob.text(other, "elsewhere"))
    assert len(gateway.ids()) == 2


def test_a_redacted_message_is_not_told_and_not_counted(home, gateway):
    alice, bob = two(home)
    room = alice.room_with(bob)
    add(alice, gateway)
    gateway.open.clear()
    bob.text(room, "first")
    gateway.wait(lambda g: g.asked == 1)
    wrong = bob.text(room, "wrong")
    bob.redact(room, wrong)
    last = bob.text(room, "last")
    gateway.open.set()
    assert gateway.event(last)["counts"] == {"unread": 2}
    assert wrong not in gateway.ids()


@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_nothing_is_lost_by_a_restart(home, gateway, how):
    alice, bob = two(home)
    room = alice.room_with(bob)
    add(alice, gateway)
    first = bob.text(room, "first")
    gateway.event(first)
    gateway.status = 500
    said = [bob.text(room, str(n)) for n in range(5)]
    gateway.wait(lambda g: g.asked >= 2, "a try in vain")
    if how == "restart":
        home.restart()
    else:
        home.kill9()
        home.start()
    gateway.status = 200
    gateway.event(said[-1])
    told = gateway.ids()
    assert list(dict.fromkeys(told)) == [first, *said]
    assert len(told) <= len(said) + 2, "at most one is told again"
