"""Registration and user-interactive authentication ("Account registration", "User-Interactive Authentication API")."""

import pytest

from harness.client import PASSWORD, V1, V3, Client, fresh, password_login, shared_secret_register

REGISTER = f"{V3}/register"


def challenge(nobody, body):
    answer = nobody.raw("POST", REGISTER, body)
    assert answer.status == 401, answer
    return answer.json


def token_auth(server, session, token=None):
    return {"type": "m.login.registration_token", "token": token or server.registration_token, "session": session}


def finish(nobody, body, auth):
    """Submits the token, then whatever stage is left (Synapse adds a dummy one)."""
    answer = nobody.raw("POST", REGISTER, {**body, "auth": auth})
    if answer.status == 401 and "m.login.registration_token" in answer.json.get("completed", []):
        answer = nobody.raw("POST", REGISTER, {**body, "auth": {"type": "m.login.dummy", "session": auth["session"]}})
    assert answer.status == 200, answer
    return answer.json


def register(nobody, **body):
    """A registration by token from the first challenge to the account."""
    body = {"username": fresh(), "password": PASSWORD, **body}
    return finish(nobody, body, token_auth(nobody.server, challenge(nobody, body)["session"]))


def test_register_without_auth_offers_the_flows(nobody):
    """UIAA: 401 with flows, params and a session, and no error code, since nothing failed yet."""
    answer = challenge(nobody, {"username": fresh(), "password": PASSWORD})
    stages = [stage for flow in answer["flows"] for stage in flow["stages"]]
    assert "m.login.registration_token" in stages
    assert isinstance(answer["session"], str)
    assert isinstance(answer["params"], dict)


def test_register_with_a_token_gives_a_working_session(nobody, server):
    name = fresh()
    answer = register(nobody, username=name, device_id="MYDEVICE", initial_device_display_name="Desk")
    assert answer["user_id"].startswith(f"@{name}:")
    assert answer["device_id"] == "MYDEVICE"
    user = Client(server, answer)
    assert user.get(f"{V3}/account/whoami")["user_id"] == answer["user_id"]
    assert user.get(f"{V3}/devices/MYDEVICE")["display_name"] == "Desk"
    assert user.get(f"{V3}/profile/{user.user}").get("displayname") in (None, name)


def test_register_makes_a_name_when_none_is_given(nobody):
    body = {"password": PASSWORD}
    answer = finish(nobody, body, token_auth(nobody.server, challenge(nobody, body)["session"]))
    assert answer["user_id"].startswith("@")
    assert answer["access_token"]


def test_register_with_inhibit_login_gives_no_token(nobody):
    answer = register(nobody, inhibit_login=True)
    assert answer["user_id"]
    assert "access_token" not in answer
    assert "device_id" not in answer


def test_register_can_give_a_refresh_token(nobody):
    answer = register(nobody, refresh_token=True)
    assert answer["refresh_token"]
    assert answer["expires_in_ms"] > 0


def test_a_wrong_registration_token_is_refused_and_may_be_tried_again(nobody):
    """UIAA: a failed stage is 401 with `errcode` and `error` beside the flows."""
    body = {"username": fresh(), "password": PASSWORD}
    session = challenge(nobody, body)["session"]
    auth = token_auth(nobody.server, session, "wrong")
    answer = nobody.raw("POST", REGISTER, {**body, "auth": auth})
    assert answer.status == 401, answer
    assert answer.errcode, answer
    assert answer.json["session"] == session
    assert answer.json["flows"]
    assert finish(nobody, body, token_auth(nobody.server, session))["access_token"]


def test_an_unknown_uiaa_session_is_refused(nobody):
    body = {"username": fresh(), "password": PASSWORD}
    answer = nobody.raw("POST", REGISTER, {**body, "auth": token_auth(nobody.server, "no-such-session")})
    assert answer.status in (400, 401, 403), answer
    assert "access_token" not in answer.json


def test_validity_of_a_registration_token(nobody, server):
    """#get_matrixclientv1registermloginregistration_tokenvalidity"""
    place = f"{V1}/register/m.login.registration_token/validity"
    assert nobody.get(place, token=server.registration_token) == {"valid": True}
    assert nobody.get(place, token="wrong") == {"valid": False}


def test_a_name_in_use_is_user_in_use(nobody, alice):
    answer = nobody.raw("POST", REGISTER, {"username": alice.localpart, "password": PASSWORD})
    assert (answer.status, answer.errcode) == (400, "M_USER_IN_USE"), answer


@pytest.mark.parametrize("name", ["with space", "ünïcode", "a:b", "@x", "x" * 260, "semi;colon"])
def test_an_invalid_name_is_invalid_username(nobody, name):
    answer = nobody.raw("POST", REGISTER, {"username": name, "password": PASSWORD})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_USERNAME"), answer


def test_availability_of_names(nobody, alice):
    """#get_matrixclientv3registeravailable"""
    place = f"{REGISTER}/available"
    assert nobody.get(place, username=fresh()) == {"available": True}
    taken = nobody.raw("GET", place, query={"username": alice.localpart})
    assert (taken.status, taken.errcode) == (400, "M_USER_IN_USE"), taken
    invalid = nobody.raw("GET", place, query={"username": "not valid"})
    assert (invalid.status, invalid.errcode) == (400, "M_INVALID_USERNAME"), invalid


def test_guests_are_refused_when_switched_off(nobody):
    answer = nobody.raw("POST", f"{REGISTER}?kind=guest", {})
    assert answer.status == 403, answer  # Synapse 1.163: with M_UNKNOWN
    assert answer.errcode in ("M_FORBIDDEN", "M_GUEST_ACCESS_FORBIDDEN"), answer


def test_registered_password_logs_in(nobody):
    user = register(nobody)["user_id"]
    assert nobody.call("POST", f"{V3}/login", password_login(user, PASSWORD))["user_id"] == user


def test_shared_secret_registration_makes_a_user(server, nobody):
    """The Synapse-compatible endpoint: nonce and HMAC-SHA1."""
    name = fresh()
    answer = shared_secret_register(server, name, PASSWORD)
    assert answer.status == 200, answer
    user = Client(server, answer.json)
    assert user.get(f"{V3}/account/whoami")["user_id"] == user.user
    assert user.localpart == name
    assert answer.json["device_id"]
    assert nobody.call("POST", f"{V3}/login", password_login(name, PASSWORD))["user_id"] == user.user


def test_shared_secret_registration_refuses_a_wrong_mac(server):
    answer = shared_secret_register(server, fresh(), PASSWORD, secret="wrong")
    assert answer.status == 403, answer


def test_shared_secret_registration_refuses_a_used_or_unknown_nonce(server):
    place = "/_synapse/admin/v1/register"
    assert server.wire.request("GET", place).json["nonce"] != server.wire.request("GET", place).json["nonce"]
    body = {"nonce": "unknown", "username": fresh(), "password": PASSWORD, "admin": False, "mac": "00" * 20}
    answer = server.wire.request("POST", place, json=body)
    assert answer.status == 400, answer


def test_shared_secret_registration_refuses_a_name_in_use(server, alice):
    answer = shared_secret_register(server, alice.localpart, PASSWORD)
    assert (answer.status, answer.errcode) == (400, "M_USER_IN_USE"), answer
