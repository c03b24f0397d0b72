"""Application services: who they are, what they may, what they are asked and told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.appservice import APP, Ghost, Service
from harness.client import PASSWORD, V1, V3, Client, fresh, ids, of_type, password_login
from harness.server import REGISTRATION_TOKEN, SERVER_NAME
from harness.wire import path

pytestmark = pytest.mark.own_server
Home = tuple[Any, Service]


@pytest.fixture
def home(make_server: Callable[..., Any], tmp_path: Any) -> Iterator[Callable[..., Home]]:
    services: list[Service] = []

    def make(settings: dict[str, Any] | None = None, prefix: str = "irc", **registration: Any) -> Home:
        service = Service(tmp_path, prefix, **registration).start()
        services.append(service)
        given = {"appservices__registrations": [str(service.path)], **(settings or {})}
        return make_server(**given), service

    yield make
    for service in services:
        service.stop()


def refused(answer: Any) -> tuple[int, str | None]:
    return answer.status, answer.errcode


# -- who they are ----------------------------------------------------------------------------------


def test_an_application_service_is_its_own_user_or_one_of_its_namespace(home):
    server, irc = home()
    bot = Ghost(server, irc)
    assert bot.get(f"{V3}/account/whoami") == {"user_id": irc.sender, "is_guest": False}
    ghost = irc.ghost(server, "a")
    assert ghost.get(f"{V3}/account/whoami")["user_id"] == irc.user("a")
    for other in (f"@other:{SERVER_NAME}", "@irc_a:elsewhere.test", irc.user("unregistered")):
        answer = Ghost(server, irc, other).raw("GET", f"{V3}/account/whoami")
        assert refused(answer) == (403, "M_FORBIDDEN"), other
    assert Ghost(server, irc, "nonsense").raw("GET", f"{V3}/account/whoami").status == 400
    wrong = server.wire.request("GET", f"{V3}/account/whoami", token="as-token-nobody")
    assert refused(wrong) == (401, "M_UNKNOWN_TOKEN")


def test_the_token_of_a_person_does_not_act_as_others(home):
    server, irc = home()
    irc.ghost(server, "a")
    alice = Client.register(server)
    answer = alice.get(f"{V3}/account/whoami", user_id=irc.user("a"))
    assert answer["user_id"] == alice.user


def test_what_is_exclusive_is_refused_to_everyone_else(home):
    server, irc = home(namespaces={
        "users": [{"exclusive": True, "regex": "@irc_.*"}, {"exclusive": False, "regex": "@open_.*"}],
        "aliases": [{"exclusive": True, "regex": "#irc_.*"}],
    })  # fmt: skip
    for name, expected in (("irc_x", "M_EXCLUSIVE"), ("ircbot", "M_USER_IN_USE"), ("open_x", None)):
        answer = server.wire.request("GET", f"{V3}/register/available", query={"username": name})
        assert answer.errcode == expected, answer
    auth = {"type": "m.login.registration_token", "token": REGISTRATION_TOKEN}
    body = {"username": "irc_x", "password": PASSWORD, "auth": auth}
    answer = server.wire.request("POST", f"{V3}/register", json=body)
    assert refused(answer) == (400, "M_EXCLUSIVE")
    alice = Client.register(server)
    room = alice.create_room()
    alias = path(f"{V3}/directory/room", f"#irc_room:{SERVER_NAME}")
    assert refused(alice.raw("PUT", alias, {"room_id": room})) == (400, "M_EXCLUSIVE")
    made = alice.raw("POST", f"{V3}/createRoom", {"room_alias_name": "irc_room"})
    assert refused(made) == (400, "M_EXCLUSIVE")
    ghost = irc.ghost(server, "a")
    own = ghost.create_room(room_alias_name="irc_room")
    assert refused(alice.raw("DELETE", alias)) == (400, "M_EXCLUSIVE")
    foreign = path(f"{V3}/directory/room", f"#else:{SERVER_NAME}")
    assert refused(ghost.raw("PUT", foreign, {"room_id": own})) == (400, "M_EXCLUSIVE")
    irc.ghost(server, "b").call("DELETE", alias)
    assert refused(Ghost(server, irc).raw("POST", f"{V3}/register", {
        "type": "m.login.application_service", "username": "somebody", "inhibit_login": True,
    })) == (400, "M_EXCLUSIVE")  # fmt: skip


def test_it_registers_and_logs_in_without_questions(home):
    server, irc = home()
    bot = Ghost(server, irc)
    body = {"type": "m.login.application_service", "username": "irc_a"}
    made = bot.call("POST", f"{V3}/register", body)
    assert made["user_id"] == irc.user("a")
    assert Client(server, made).get(f"{V3}/account/whoami")["device_id"] == made["device_id"]
    assert refused(bot.raw("POST", f"{V3}/register", body)) == (400, "M_USER_IN_USE")
    quiet = bot.call("POST", f"{V3}/register", {**body, "username": "irc_b", "inhibit_login": True})
    assert "access_token" not in quiet
    types = [flow["type"] for flow in server.wire.request("GET", f"{V3}/login").json["flows"]]
    assert "m.login.application_service" in types
    login = {**password_login("irc_b", ""), "type": "m.login.application_service"}
    session = bot.call("POST", f"{V3}/login", login)
    assert Client(server, session).get(f"{V3}/account/whoami")["user_id"] == irc.user("b")
    alice = Client.register(server)
    stolen = {**login, "identifier": {"type": "m.id.user", "user": alice.localpart}}
    assert refused(bot.raw("POST", f"{V3}/login", stolen)) == (400, "M_EXCLUSIVE")
    for target, body in ((f"{V3}/login", login), (f"{V3}/register", body)):
        assert refused(server.wire.request("POST", target, json=body)) == (401, "M_MISSING_TOKEN")
        assert refused(alice.raw("POST", target, body)) == (401, "M_UNKNOWN_TOKEN")


def test_devices_are_made_without_logging_in(home):
    server, irc = home(**{"io.element.msc4190": True})
    bot = Ghost(server, irc)
    body = {"type": "m.login.application_service", "username": "irc_a"}
    assert refused(bot.raw("POST", f"{V3}/register", body)) == (400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
    login = {**password_login("irc_a", ""), "type": "m.login.application_service"}
    assert refused(bot.raw("POST", f"{V3}/login", login)) == (400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
    ghost = irc.ghost(server, "a")
    device = f"{V3}/devices/BRIDGE"
    for name in ("device_id", "org.matrix.msc3202.device_id"):
        unknown = Ghost(server, irc, irc.user("a"), **{name: "BRIDGE"})
        assert refused(unknown.raw("GET", f"{V3}/account/whoami")) == (400, "M_UNKNOWN_DEVICE")
    assert ghost.raw("PUT", device, {"display_name": "one"}).status == 201
    assert ghost.raw("PUT", device, {"display_name": "two"}).status == 200
    assert ghost.get(device)["display_name"] == "two"
    acting = Ghost(server, irc, irc.user("a"), device_id="BRIDGE")
    assert acting.get(f"{V3}/account/whoami")["device_id"] == "BRIDGE"
    assert ghost.raw("DELETE", device, {}).status == 200
    assert refused(ghost.raw("GET", device)) == (404, "M_NOT_FOUND")
    person = Client.register(server)
    assert refused(person.raw("PUT", f"{V3}/devices/NEW", {})) == (404, "M_NOT_FOUND")


def test_only_it_says_when_something_was_sent(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    send = lambda who: who.call(  # noqa: E731
        "PUT", who.room_call(room, "send", "m.room.message", fresh("t")), {"body": "x"}, query={"ts": 1234}
    )["event_id"]
    assert alice.event(room, send(ghost))["origin_server_ts"] == 1234
    assert alice.event(room, send(alice))["origin_server_ts"] > 1_700_000_000_000
    state = ghost.call("PUT", ghost.room_call(room, "state", "x.y", ""), {"a": 1}, query={"ts": 99})
    assert alice.event(room, state["event_id"])["origin_server_ts"] == 99
    bad = ghost.raw("PUT", ghost.room_call(room, "send", "x.y", "1"), {}, query={"ts": "-1"})
    assert bad.status == 400, bad


def test_rate_limits_hold_for_ghosts_only_if_it_says_so(home):
    settings = {"limits__rate_limits": True}
    server, irc = home(settings, rate_limited=False)
    ghost = irc.ghost(server, "a")
    room = ghost.create_room()
    for number in range(15):
        ghost.text(room, str(number))
        irc.ghost(server, f"n{number}")
    server, slow = home(settings, prefix="slow", rate_limited=True)
    bot, ghost = Ghost(server, slow), slow.ghost(server, "a")
    room = bot.create_room()
    for number in range(15):
        bot.text(room, str(number))
    own = ghost.create_room()
    target = lambda: ghost.room_call(own, "send", "m.room.message", fresh("t"))  # noqa: E731
    assert 429 in [ghost.raw("PUT", target(), {"body": "x"}).status for _ in range(15)]


# -- what they are told ----------------------------------------------------------------------------


def test_it_is_told_of_rooms_that_its_users_are_in_and_of_no_others(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    silent = alice.create_room()
    early = alice.text(silent, "not for bridges")
    room = alice.create_room(preset="public_chat")
    before = alice.text(room, "before it came")
    ghost.join(room)
    heard = alice.text(room, "hello")
    event = irc.wait_event(heard)
    assert event["room_id"] == room and event["sender"] == alice.user
    assert event["content"]["body"] == "hello" and event["type"] == "m.room.message"
    assert event["origin_server_ts"] and "state_key" not in event
    topic = alice.set_state(room, "m.room.topic", {"topic": "one"})
    again = alice.set_state(room, "m.room.topic", {"topic": "two"})
    told = irc.wait_event(again)
    assert told["state_key"] == "" and told["unsigned"]["prev_content"] == {"topic": "one"}
    assert told["unsigned"]["replaces_state"] == topic
    ghost.leave(room)
    after = alice.text(room, "after it left")
    ghost.join(room)
    last = alice.text(room, "again")
    irc.wait_event(last)
    seen = ids(irc.told())
    assert not {early, before, after} & set(seen)
    members = [e["content"]["membership"] for e in of_type(irc.told(), "m.room.member")]
    assert members == ["join", "leave", "join"], "its own comings and goings"
    assert not irc.wrong_token


def test_it_is_told_of_rooms_by_alias_and_by_id(home):
    server, irc = home(namespaces={"aliases": [{"exclusive": False, "regex": "#watched.*"}]})
    alice = Client.register(server)
    room = alice.create_room(room_alias_name="watched")
    irc.wait_event(alice.text(room, "seen"))
    plain = alice.create_room()
    unseen = alice.text(plain, "unseen")
    server, all_rooms = home(prefix="all", namespaces={"rooms": [{"regex": "!.*"}]})
    bob = Client.register(server)
    all_rooms.wait_event(bob.text(bob.create_room(), "every room"))
    assert unseen not in ids(irc.told())


def test_an_invite_of_a_ghost_shows_the_room(home):
    server, irc = home()
    alice = Client.register(server)
    room = alice.create_room(name="Den")
    # Nobody has registered it: the bridge does when it is told.
    irc.answers[f"{APP}/users/{irc.user('new')}"] = (404, {"errcode": "M_NOT_FOUND"})
    alice.call("POST", alice.room_call(room, "invite"), {"user_id": irc.user("new")})
    assert ("GET", f"{APP}/users/{irc.user('new')}", {}) in irc.asked
    invite = irc.wait(lambda: of_type(irc.told(), "m.room.member"))[0]
    assert invite["state_key"] == irc.user("new") and invite["content"]["membership"] == "invite"
    state = {s["type"]: s["content"] for s in invite["unsigned"]["invite_room_state"]}
    assert state["m.room.name"] == {"name": "Den"}
    ghost = irc.ghost(server, "new")
    ghost.join(room)
    other = irc.user("other")
    made = alice.create_room(invite=[other])
    assert alice.membership(made, other) == "invite"
    nobody = alice.raw("POST", alice.room_call(room, "invite"), {"user_id": f"@nobody:{SERVER_NAME}"})
    assert refused(nobody) == (404, "M_NOT_FOUND")


def test_what_is_redacted_says_so(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    event = alice.text(room, "secret")
    irc.wait_event(event)
    redaction = alice.redact(room, event)
    told = irc.wait_event(redaction)
    assert told["content"].get("redacts", told.get("redacts")) == event


def test_what_it_does_not_acknowledge_comes_again_and_says_the_same(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    irc.wait_event(alice.text(room, "first"))
    tried: list[tuple[str, bytes]] = []
    statuses = [500, 502, 403]

    def fail(_method: str, target: str, _query: Any, body: bytes) -> tuple[int, Any]:
        tried.append((target, body))
        if len(tried) > len(statuses):
            return 200, {}
        return statuses[len(tried) - 1], {}

    irc.answers[f"{APP}/transactions/"] = fail
    irc.answers["/transactions/"] = (404, {})
    event = alice.text(room, "again")
    later = alice.text(room, "later")
    irc.wait_event(event)
    irc.wait_event(later)
    assert len({body for _, body in tried[:4]}) == 1 and len({target for target, _ in tried[:4]}) == 1
    assert len(tried) >= 4


@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_one_that_was_away_is_told_everything_in_order(home, how):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    irc.wait_event(alice.text(room, "here"))
    irc.stop()
    sent = [alice.text(room, f"away {number}") for number in range(120)]
    if how == "restart":
        server.restart()
    else:
        server.kill9()
        server.start()
    sent += [alice.text(room, f"still {number}") for number in range(30)]
    ghost.leave(room)
    irc.start()
    irc.wait(lambda: sent[-1] in ids(irc.told()), "the last event")
    told = [event for event in ids(irc.told()) if event in set(sent)]
    assert told == sent, "in order, nothing lost, nothing twice"


def test_a_transaction_says_the_same_after_the_server_was_killed(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    irc.wait_event(alice.text(room, "here"))
    tried: list[tuple[str, Any]] = []
    open_again = threading.Event()

    def hold(_method: str, target: str, _query: Any, body: bytes) -> tuple[int, Any]:
        tried.append((target, json.loads(body)["events"]))
        return (200, {}) if open_again.is_set() else (503, {})

    irc.answers[f"{APP}/transactions/"] = hold
    first = alice.text(room, "first")
    irc.wait(lambda: tried)
    others = [alice.text(room, f"more {number}") for number in range(5)]
    ghost.leave(room)
    server.kill9()
    server.start()
    open_again.set()
    irc.wait(lambda: others[-1] in ids(irc.told()))
    same = [events for target, events in tried if target == tried[0][0]]
    assert len(same) >= 2 and all(events == same[0] for events in same)
    assert ids(same[0]) == [first]


def test_the_routes_of_older_drafts_are_tried_too(home):
    server, irc = home()
    # It knows nothing of /_matrix/app.
    irc.answers[f"{APP}/transactions/"] = (404, {"errcode": "M_UNRECOGNIZED"})
    alice = Client.register(server)
    ghost = irc.ghost(server, "a")
    room = ghost.room_with(alice)
    event = alice.text(room, "old")
    irc.wait_event(event)
    legacy = [query for method, p, query in irc.asked if p.startswith("/transactions/")]
    assert legacy and legacy[0]["access_token"] == irc.hs_token


def test_ephemeral_events_come_to_who_asks_for_them(home):
    server, irc = home(**{"de.sorunome.msc2409.push_ephemeral": True})
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    event = ghost.text(room, "read me")
    alice.receipt(room, event)
    hidden = ghost.text(room, "read in private")
    alice.receipt(room, hidden, "m.read.private")
    ghost.receipt(room, hidden, "m.read.private")
    alice.call("PUT", alice.room_call(room, "typing", alice.user), {"typing": True, "timeout": 30000})

    def typing() -> Any:
        of = of_type(irc.told("ephemeral"), "m.typing")
        return [e for e in of if e["content"]["user_ids"] == [alice.user]]

    assert irc.wait(typing, "typing")[0]["room_id"] == room
    receipts = [(e["room_id"], e["content"]) for e in of_type(irc.told("ephemeral"), "m.receipt")]
    assert (room, alice.user) in [(r, *content[event]["m.read"]) for r, content in receipts if event in content]
    private = [content[hidden]["m.read.private"] for _, content in receipts if hidden in content]
    assert [list(users) for users in private] == [[irc.user("a")]], "of its own users only"
    silent = alice.create_room()
    alice.call("PUT", alice.room_call(silent, "typing", alice.user), {"typing": True, "timeout": 30000})
    alice.call("PUT", alice.room_call(room, "typing", alice.user), {"typing": False})
    irc.wait(lambda: [e for e in of_type(irc.told("ephemeral"), "m.typing") if not e["content"]["user_ids"]])
    assert silent not in {e["room_id"] for e in irc.told("ephemeral")}


def test_ephemeral_events_do_not_come_to_who_does_not(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    alice.receipt(room, ghost.text(room, "read me"))
    irc.wait_event(alice.text(room, "last"))
    assert irc.told("ephemeral") == []


def test_one_without_a_url_is_told_nothing_and_may_still_act(home):
    server, irc = home(url=None)
    ghost = irc.ghost(server, "a")
    ghost.text(ghost.create_room(), "said")
    answer = Ghost(server, irc).raw("POST", f"{V1}/appservice/irc/ping", {})
    assert refused(answer) == (400, "M_URL_NOT_SET")
    assert irc.transactions == []


def test_it_is_not_told_what_was_before_its_time(make_server, tmp_path):
    server = make_server()
    alice = Client.register(server)
    room = alice.create_room(preset="public_chat")
    old = alice.text(room, "long ago")
    irc = Service(tmp_path, "irc", namespaces={"rooms": [{"regex": "!.*"}]}).start()
    server.settings["appservices.registrations"] = [str(irc.path)]
    server.restart()
    irc.wait_event(alice.text(room, "now"))
    assert old not in ids(irc.told())
    irc.stop()


def test_lag_is_a_figure(home):
    server, irc = home()
    alice = Client.register(server)
    ghost = irc.ghost(server, "a")
    irc.wait_event(alice.text(ghost.room_with(alice), "x"))
    page = server.wire.request("GET", "/metrics").body.decode()
    assert 'althing_appservice_lag{appservice="irc"}' in page


# -- what they are asked ---------------------------------------------------------------------------


def test_an_unknown_alias_is_asked_for_where_it_may_be_made(home):
    server, irc = home(namespaces={
        "users": [{"exclusive": True, "regex": "@irc_.*"}],
        "aliases": [{"exclusive": True, "regex": "#irc_.*"}],
    })  # fmt: skip
    alice = Client.register(server)
    alias = f"#irc_chan:{SERVER_NAME}"
    ghost = irc.ghost(server, "a")
    made: list[str] = []

    def create(*_: Any) -> tuple[int, Any]:
        made.append(ghost.create_room(room_alias_name="irc_chan", preset="public_chat"))
        return 200, {}

    irc.answers[f"{APP}/rooms/{alias}"] = create
    assert alice.join(alias) == made[0]
    assert alice.get(path(f"{V3}/directory/room", alias))["room_id"] == made[0]
    assert len(made) == 1, "asked once"
    unknown = alice.raw("GET", path(f"{V3}/directory/room", f"#irc_none:{SERVER_NAME}"))
    assert refused(unknown) == (404, "M_NOT_FOUND")
    irc.stop()
    silent = alice.raw("POST", path(f"{V3}/join", f"#irc_silent:{SERVER_NAME}"), {})
    assert silent.status == 408, silent


def test_an_unknown_user_is_asked_for_where_they_may_be_made(home):
    server, irc = home()
    alice = Client.register(server)

    def create(*_: Any) -> tuple[int, Any]:
        irc.ghost(server, "made").call(
            "PUT", path(f"{V3}/profile", irc.user("made"), "displayname"), {"displayname": "Made"}
        )
        return 200, {}

    irc.answers[f"{APP}/users/{irc.user('made')}"] = create
    assert alice.get(path(f"{V3}/profile", irc.user("made")))["displayname"] == "Made"
    answer = alice.raw("GET", path(f"{V3}/profile", irc.user("none")))
    assert refused(answer) == (404, "M_NOT_FOUND")


def test_ping_tells_what_is_wrong(home):
    server, irc = home()
    bot = Ghost(server, irc)
    target = f"{V1}/appservice/irc/ping"
    seen: list[Any] = []

    def pong(_method: str, _path: str, _query: Any, body: bytes) -> tuple[int, Any]:
        seen.append(json.loads(body))
        return 200, {}

    irc.answers[f"{APP}/ping"] = pong
    assert bot.call("POST", target, {"transaction_id": "meow"})["duration_ms"] >= 0
    assert seen == [{"transaction_id": "meow"}]
    irc.answers[f"{APP}/ping"] = (403, {"errcode": "M_FORBIDDEN"})
    answer = bot.raw("POST", target, {})
    assert refused(answer) == (502, "M_BAD_STATUS")
    assert answer.json["status"] == 403 and "M_FORBIDDEN" in answer.json["body"]
    assert refused(bot.raw("POST", f"{V1}/appservice/other/ping", {})) == (403, "M_FORBIDDEN")
    person = Client.register(server)
    assert refused(person.raw("POST", target, {})) == (403, "M_FORBIDDEN")
    irc.stop()
    assert refused(bot.raw("POST", target, {})) == (502, "M_CONNECTION_FAILED")


def test_third_party_networks_are_put_together(make_server, tmp_path):
    one = Service(tmp_path, "one", protocols=["irc"]).start()
    two = Service(tmp_path, "two", protocols=["irc", "xmpp"]).start()
    dead = Service(tmp_path, "dead", protocols=["irc", "gone"])
    about = {"user_fields": ["nick"], "location_fields": ["channel"], "icon": "mxc://a/b", "field_types": {}}
    for service, network in ((one, "libera"), (two, "oftc")):
        instance = {"network_id": network, "desc": network, "fields": {}}
        place = {"alias": f"#{network}:{SERVER_NAME}", "protocol": "irc", "fields": {"channel": "#a"}}
        person = {"userid": service.user("a"), "protocol": "irc", "fields": {"nick": "a"}}
        thirdparty = f"{APP}/thirdparty"
        if service is two:
            # It knows the routes of an older draft only.
            thirdparty = "/_matrix/app/unstable/thirdparty"
        service.answers |= {
            f"{thirdparty}/protocol/irc": (200, {**about, "instances": [instance]}),
            f"{thirdparty}/location/irc": (200, [place]),
            f"{thirdparty}/user/irc": (200, [person]),
            f"{thirdparty}/location": (200, [place]),
            f"{thirdparty}/user": (200, [person]),
        }
    server = make_server(appservices__registrations=[str(s.path) for s in (one, two, dead)])
    alice = Client.register(server)
    base = f"{V3}/thirdparty"
    protocols = alice.get(f"{base}/protocols")
    assert set(protocols) == {"irc"}, "what nobody answers for is left out"
    irc = alice.get(f"{base}/protocol/irc")
    assert protocols["irc"] == irc and irc["user_fields"] == ["nick"]
    assert [(i["network_id"], i["instance_id"]) for i in irc["instances"]] == [
        ("libera", "one|libera"), ("oftc", "two|oftc"),
    ]  # fmt: skip
    places = alice.get(f"{base}/location/irc", channel="#a", access_token="x")
    assert [place["alias"] for place in places] == [f"#libera:{SERVER_NAME}", f"#oftc:{SERVER_NAME}"]
    asked = [query for _, p, query in one.asked if p == f"{APP}/thirdparty/location/irc"]
    assert asked == [{"channel": "#a"}], "the search fields, and no token"
    people = [found["userid"] for found in alice.get(f"{base}/user/irc", nick="a")]
    assert people == [one.user("a"), two.user("a")]
    assert len(alice.get(f"{base}/location", alias=f"#libera:{SERVER_NAME}")) == 2
    assert len(alice.get(f"{base}/user", userid=one.user("a"))) == 2
    for target in ("protocol/none", "location/none", "user/xmpp"):
        assert refused(alice.raw("GET", f"{base}/{target}")) == (404, "M_NOT_FOUND"), target
    assert alice.raw("GET", f"{base}/user").status == 400
    one.stop()
    two.stop()


# -- how they are set up ---------------------------------------------------------------------------


def test_a_mistake_in_a_registration_is_named_and_nothing_starts(make_server, tmp_path):
    bad = Service(tmp_path, "bad", rate_limited="no", namespaces={"users": [{"regex": "("}]})
    with pytest.raises(RuntimeError) as failed:
        make_server(appservices__registrations=[str(bad.path)])
    text = str(failed.value)
    assert "exited with 2" in text and str(bad.path) in text
    assert "rate_limited: expected true or false" in text and "namespaces.users[0].regex" in text
    assert bad.as_token not in text
    one, two = Service(tmp_path, "one"), Service(tmp_path, "two", as_token="as-token-one")
    with pytest.raises(RuntimeError, match="as_token"):
        make_server(appservices__registrations=[str(one.path), str(two.path)])


def test_the_server_stops_while_an_application_service_hangs(home):
    server, irc = home()
    ghost, alice = irc.ghost(server, "a"), Client.register(server)
    room = ghost.room_with(alice)
    hangs, go_on = threading.Event(), threading.Event()

    def hang(*_: Any) -> tuple[int, Any]:
        hangs.set()
        go_on.wait(30)
        return 200, {}

    irc.answers[f"{APP}/transactions/"] = hang
    alice.text(room, "x")
    assert hangs.wait(20)
    began = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - began < 10
    go_on.set()
    server.start()
