"""Device management: list, read, rename, delete."""

from harness.client import V3, Client, password_login
from harness.wire import path

DEVICES = f"{V3}/devices"


def device(client, device_id=None):
    return path(DEVICES, device_id or client.device)


def gone(client):
    return client.raw("GET", f"{V3}/account/whoami").status == 401


def confirmed(client, method, target, body):
    """Answers the UIAA challenge with the password."""
    first = client.raw(method, target, body)
    assert first.status == 401, first
    auth = password_login(client.user, client.password, session=first.json["session"])
    return client.raw(method, target, {**body, "auth": auth})


def test_devices_lists_ones_own(alice, bob):
    phone = alice.login(device_id="PHONE", initial_device_display_name="Phone")
    listed = {d["device_id"]: d for d in alice.get(DEVICES)["devices"]}
    assert set(listed) == {alice.device, "PHONE"}
    assert listed["PHONE"]["display_name"] == "Phone"
    assert [d["device_id"] for d in bob.get(DEVICES)["devices"]] == [bob.device]
    assert phone.get(device(phone))["device_id"] == "PHONE"


def test_device_has_last_seen(alice):
    alice.get(f"{V3}/account/whoami")
    read = alice.get(device(alice))
    assert read.get("last_seen_ip", "127.0.0.1") == "127.0.0.1"
    assert read.get("last_seen_ts", 1) is None or read.get("last_seen_ts", 1) > 0


def test_unknown_or_foreign_device_is_not_found(alice, bob):
    for device_id in ("NOSUCH", bob.device):
        for method, body in (("GET", None), ("PUT", {"display_name": "x"})):
            answer = alice.raw(method, device(alice, device_id), body)
            assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_device_can_be_renamed(alice):
    alice.call("PUT", device(alice), {"display_name": "New name"})
    assert alice.get(device(alice))["display_name"] == "New name"
    alice.call("PUT", device(alice), {})
    assert alice.get(device(alice))["display_name"] == "New name"


def test_device_deletion_needs_the_password_and_kills_its_token(alice):
    phone = alice.login()
    target = device(phone)
    bare = alice.raw("DELETE", target, {})
    assert bare.status == 401, bare
    assert bare.json["flows"]
    assert not gone(phone)
    assert confirmed(alice, "DELETE", target, {}).status == 200
    assert gone(phone)
    assert alice.raw("GET", target).errcode == "M_NOT_FOUND"
    assert not gone(alice)


def test_wrong_password_deletes_nothing(alice):
    phone = alice.login()
    first = alice.raw("DELETE", device(phone), {})
    auth = password_login(alice.user, "wrong", session=first.json["session"])
    answer = alice.raw("DELETE", device(phone), {"auth": auth})
    assert answer.status == 401, answer
    assert answer.errcode == "M_FORBIDDEN", answer
    assert not gone(phone)


def test_uiaa_session_belongs_to_one_request(alice):
    """A challenge answered for one device may not be replayed for another."""
    phone, tablet = alice.login(), alice.login()
    first = alice.raw("DELETE", device(phone), {})
    auth = password_login(alice.user, alice.password, session=first.json["session"])
    answer = alice.raw("DELETE", device(tablet), {"auth": auth})
    assert answer.status in (400, 401, 403), answer
    assert not gone(tablet)


def test_devices_can_be_deleted_in_bulk(alice):
    others = [alice.login() for _ in range(3)]
    body = {"devices": [other.device for other in others[:2]] + ["NOSUCH"]}
    assert confirmed(alice, "POST", f"{V3}/delete_devices", body).status == 200
    assert [gone(other) for other in others] == [True, True, False]


def test_deleted_device_id_can_be_used_anew(alice):
    phone = alice.login(device_id="PHONE", initial_device_display_name="Old")
    phone.call("POST", f"{V3}/logout")
    again = alice.login(device_id="PHONE")
    assert again.get(device(again)).get("display_name") != "Old"
    assert isinstance(again, Client)
