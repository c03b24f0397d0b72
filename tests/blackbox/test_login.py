"""Sessions: login, refresh, logout, password, deactivation ("Legacy API", "Account management")."""

import pytest

from harness.client import PASSWORD, V3, Client, fresh, password_login
from harness.wire import path

LOGIN, WHOAMI = f"{V3}/login", f"{V3}/account/whoami"


def dead(client):
    answer = client.raw("GET", WHOAMI)
    return (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN")


def uiaa(client, method, target, body=None, password=None):
    """Answers the challenge with the password."""
    body = body or {}
    first = client.raw(method, target, body)
    assert first.status == 401, first
    assert ["m.login.password"] in [flow["stages"] for flow in first.json["flows"]]
    auth = password_login(client.user, password or client.password, session=first.json["session"])
    return client.raw(method, target, {**body, "auth": auth})


def test_login_flows_offer_the_password(nobody):
    assert {"type": "m.login.password"} in nobody.get(LOGIN)["flows"]


def test_login_by_localpart_and_by_user_id(nobody, alice):
    for name in (alice.localpart, alice.user):
        answer = nobody.call("POST", LOGIN, password_login(name, PASSWORD))
        assert answer["user_id"] == alice.user
        assert answer["access_token"] and answer["device_id"]


def test_login_with_the_deprecated_user_key(nobody, alice):
    """Old clients send `user` instead of `identifier`."""
    body = {"type": "m.login.password", "user": alice.localpart, "password": PASSWORD}
    assert nobody.call("POST", LOGIN, body)["user_id"] == alice.user


def test_wrong_password_and_unknown_user_look_the_same(nobody, alice):
    wrong = nobody.raw("POST", LOGIN, password_login(alice.user, "wrong"))
    unknown = nobody.raw("POST", LOGIN, password_login(fresh(), "wrong"))
    assert (wrong.status, wrong.errcode) == (403, "M_FORBIDDEN"), wrong
    assert (wrong.status, wrong.json) == (unknown.status, unknown.json)


def test_unknown_login_type_is_refused(nobody):
    answer = nobody.raw("POST", LOGIN, {"type": "org.example.telepathy"})
    assert answer.status == 400, answer
    assert answer.errcode in ("M_UNKNOWN", "M_INVALID_PARAM"), answer


@pytest.mark.parametrize("body", [{}, {"type": "m.login.password"}, {"type": 5}])
def test_incomplete_login_is_400(nobody, body):
    answer = nobody.raw("POST", LOGIN, body)
    assert answer.status == 400, answer
    assert answer.errcode, answer


def test_login_with_a_device_id_reuses_the_device_and_kills_its_old_token(alice):
    """#login: "any previously issued access token for the device is invalidated"."""
    # Synapse 1.163 keeps the old token (its issue 6616).
    again = alice.login(device_id=alice.device)
    assert again.device == alice.device
    assert dead(alice)
    assert len(again.get(f"{V3}/devices")["devices"]) == 1


def test_login_makes_a_device_with_a_name(alice):
    other = alice.login(device_id="PHONE", initial_device_display_name="Phone")
    assert other.device == "PHONE"
    assert alice.get(f"{V3}/devices/PHONE")["display_name"] == "Phone"
    assert not dead(alice)


def test_whoami(alice):
    answer = alice.get(WHOAMI)
    assert (answer["user_id"], answer["device_id"]) == (alice.user, alice.device)
    assert answer.get("is_guest", False) is False


def test_logout_kills_the_token_and_the_device(alice):
    other = alice.login()
    other.call("POST", f"{V3}/logout")
    assert dead(other)
    assert not dead(alice)
    assert [d["device_id"] for d in alice.get(f"{V3}/devices")["devices"]] == [alice.device]


def test_logout_all_kills_every_session(alice):
    others = [alice.login() for _ in range(3)]
    alice.call("POST", f"{V3}/logout/all")
    assert all(dead(client) for client in [alice, *others])


def test_refresh_swaps_the_tokens(alice):
    """#refreshing-access-tokens"""
    first = alice.call("POST", LOGIN, password_login(alice.user, PASSWORD, refresh_token=True))
    assert first["expires_in_ms"] > 0
    second = alice.call("POST", f"{V3}/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    assert second["access_token"] != first["access_token"]
    client = Client(alice.server, {**first, **second})
    assert client.get(WHOAMI)["device_id"] == first["device_id"]
    assert second.get("refresh_token", first["refresh_token"])


def test_a_refresh_token_dies_when_its_successor_is_used(alice):
    """#refreshing-access-tokens: the old refresh token stays valid until the new pair is used."""
    first = alice.call("POST", LOGIN, password_login(alice.user, PASSWORD, refresh_token=True))
    lost = alice.call("POST", f"{V3}/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    again = alice.call("POST", f"{V3}/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    assert lost["access_token"] != again["access_token"]
    Client(alice.server, again).get(WHOAMI)
    reused = alice.raw("POST", f"{V3}/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    assert reused.status in (401, 403), reused
    assert reused.errcode in ("M_UNKNOWN_TOKEN", "M_FORBIDDEN"), reused


def test_an_unknown_refresh_token_is_401(nobody):
    answer = nobody.raw("POST", f"{V3}/refresh", {"refresh_token": "wrong"})
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN"), answer


def test_login_without_asking_gives_no_refresh_token(nobody, alice):
    answer = nobody.call("POST", LOGIN, password_login(alice.user, PASSWORD))
    assert "refresh_token" not in answer
    assert "expires_in_ms" not in answer


def test_password_change_needs_the_old_one_and_logs_other_devices_out(alice, nobody):
    """#post_matrixclientv3accountpassword: `logout_devices` defaults to true."""
    other = alice.login()
    wrong = uiaa(alice, "POST", f"{V3}/account/password", {"new_password": "n3w secret"}, password="wrong")
    assert wrong.status in (401, 403), wrong
    assert wrong.errcode == "M_FORBIDDEN", wrong
    answer = uiaa(alice, "POST", f"{V3}/account/password", {"new_password": "n3w secret"})
    assert answer.status == 200, answer
    assert not dead(alice)
    assert dead(other)
    assert nobody.raw("POST", LOGIN, password_login(alice.user, PASSWORD)).status == 403
    assert nobody.raw("POST", LOGIN, password_login(alice.user, "n3w secret")).status == 200


def test_password_change_can_keep_other_devices(alice):
    other = alice.login()
    body = {"new_password": "n3w secret", "logout_devices": False}
    assert uiaa(alice, "POST", f"{V3}/account/password", body).status == 200
    assert not dead(other)


def test_uiaa_by_another_users_password_is_refused(alice, bob):
    first = alice.raw("POST", f"{V3}/account/password", {"new_password": "n3w secret"})
    auth = password_login(bob.user, bob.password, session=first.json["session"])
    answer = alice.raw("POST", f"{V3}/account/password", {"new_password": "n3w secret", "auth": auth})
    assert answer.status in (400, 401, 403), answer
    assert alice.login()


def test_deactivation_ends_the_account(alice, nobody):
    """#post_matrixclientv3accountdeactivate"""
    other = alice.login()
    answer = uiaa(alice, "POST", f"{V3}/account/deactivate")
    assert answer.status == 200, answer
    assert answer.json["id_server_unbind_result"] in ("success", "no-support")
    assert dead(alice) and dead(other)
    login = nobody.raw("POST", LOGIN, password_login(alice.user, PASSWORD))
    assert login.status == 403, login
    assert login.errcode in ("M_USER_DEACTIVATED", "M_FORBIDDEN"), login
    taken = nobody.raw("GET", f"{V3}/register/available", query={"username": alice.localpart})
    assert taken.errcode == "M_USER_IN_USE", taken


def test_deactivation_leaves_the_rooms(alice, bob):
    room = bob.room_with(alice)
    assert uiaa(alice, "POST", f"{V3}/account/deactivate").status == 200
    bob.sync_until(lambda _: bob.membership(room, alice.user) == "leave")


def test_erasure_hides_messages_from_those_who_come_later(alice, bob, carol):
    """#post_matrixclientv3accountdeactivate, `erase`: who was there keeps them, who joins later gets them redacted."""
    room = bob.room_with(alice)
    event = alice.text(room, "forget me")
    assert uiaa(alice, "POST", f"{V3}/account/deactivate", {"erase": True}).status == 200
    bob.invite(room, carol)
    carol.join(room)
    assert bob.event(room, event)["content"]["body"] == "forget me"
    for read in (carol.event(room, event), next(e for e in carol.history(room) if e["event_id"] == event)):
        assert "body" not in read["content"]


def test_deactivated_profile_is_gone_when_erased(alice, bob):
    alice.call("PUT", path(f"{V3}/profile", alice.user, "displayname"), {"displayname": "Alice"})
    assert uiaa(alice, "POST", f"{V3}/account/deactivate", {"erase": True}).status == 200
    answer = bob.raw("GET", path(f"{V3}/profile", alice.user))
    assert answer.status == 404 or "displayname" not in answer.json, answer
