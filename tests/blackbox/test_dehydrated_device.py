"""Dehydrated devices (MSC3814): a device that reads what is sent while its user is logged in nowhere."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from harness.client import V3, Client
from harness.events import Key
from harness.wire import Response, path

DEVICE = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
USUAL = "signed_curve25519"


def dehydrate(client: Client, device: str | None = None, **more: Any) -> str:
    answer = client.call("PUT", DEVICE, dehydrated(client, device, **more))
    return answer["device_id"]


def dehydrated(client: Client, device: str | None = None, **more: Any) -> dict[str, Any]:
    # As clients do: the public key, in base64 that is not safe for paths.
    device = device or f"ab/+{uuid.uuid4().hex}"
    key = Key(device)
    keys = {
        "user_id": client.user, "device_id": device, "dehydrated": True,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{device}": key.public, f"curve25519:{device}": device},
    }  # fmt: skip
    return {
        "device_id": device, "initial_device_display_name": "In the freezer",
        "device_data": {"algorithm": "m.dehydration.v2", "device_pickle": "pickle", "nonce": "n"},
        "device_keys": key.sign(keys, client.user),
        "one_time_keys": {f"{USUAL}:a": {"key": "a" * 43, "signatures": {}}},
        "fallback_keys": {f"{USUAL}:f": {"key": "f" * 43, "fallback": True, "signatures": {}}},
        **more,
    }  # fmt: skip


def events(device: str) -> str:
    return path(DEVICE, device, "events")


def query(asker: Client, user: Client) -> dict[str, Any]:
    return asker.call("POST", f"{V3}/keys/query", {"device_keys": {user.user: []}})["device_keys"][user.user]


def claim(asker: Client, owner: Client, device: str) -> Any:
    asked = {"one_time_keys": {owner.user: {device: USUAL}}}
    return asker.call("POST", f"{V3}/keys/claim", asked)["one_time_keys"].get(owner.user)


def send(sender: Client, to: Client, device: str, *bodies: int) -> None:
    for body in bodies:
        messages = {to.user: {device: {"n": body}}}
        sender.call("PUT", f"{V3}/sendToDevice/org.example.n/{uuid.uuid4().hex}", {"messages": messages})


def numbers(answer: dict[str, Any]) -> list[int]:
    return [event["content"]["n"] for event in answer["events"]]


def refused(answer: Response) -> tuple[int, str]:
    return answer.status, answer.errcode


def test_there_is_none_until_one_is_put(alice):
    assert alice.get("/_matrix/client/versions")["unstable_features"]["org.matrix.msc3814"] is True
    for method in ("GET", "DELETE"):
        assert refused(alice.raw(method, DEVICE)) == (404, "M_NOT_FOUND")
    body = dehydrated(alice)
    assert alice.call("PUT", DEVICE, body) == {"device_id": body["device_id"]}
    other = alice.login()
    assert other.get(DEVICE) == {"device_id": body["device_id"], "device_data": body["device_data"]}


def test_it_is_found_as_dehydrated_and_its_keys_are_claimed(alice, bob):
    alice.room_with(bob)
    bob.sync()
    body = dehydrated(alice)
    alice.call("PUT", DEVICE, body)
    told = bob.sync_until(lambda answer: alice.user in answer.get("device_lists", {}).get("changed", []))
    assert told
    found = query(bob, alice)[body["device_id"]]
    assert found["dehydrated"] is True
    assert found == {**body["device_keys"], "unsigned": {"device_display_name": "In the freezer"}}
    given = [claim(bob, alice, body["device_id"])[body["device_id"]] for _ in range(3)]
    assert [list(keys) for keys in given] == [[f"{USUAL}:a"], [f"{USUAL}:f"], [f"{USUAL}:f"]]


def test_what_was_sent_is_read_page_by_page_and_stays(alice, bob):
    device = dehydrate(alice)
    send(bob, alice, device, *range(5))
    for _ in range(2):
        read, token, pages = [], {}, 0
        while True:
            answer = alice.get(events(device), limit=2, **token)
            token = {"next_batch": answer["next_batch"]}
            if not answer["events"]:
                break
            read += numbers(answer)
            pages += 1
        assert (read, pages) == ([0, 1, 2, 3, 4], 3)
    first = alice.get(events(device), limit=2)
    assert first["events"][0] == {"type": "org.example.n", "sender": bob.user, "content": {"n": 0}}
    rest = alice.call("POST", events(device), {"next_batch": first["next_batch"]})
    assert numbers(rest) == [2, 3, 4]
    assert numbers(alice.call("POST", events(device))) == [0, 1, 2, 3, 4]


def test_what_is_for_all_devices_is_for_it_too_and_no_other_device_is_told_of_it(alice, bob):
    device = dehydrate(alice)
    send(bob, alice, "*", 7)
    assert numbers(alice.get(events(device))) == [7]
    own = alice.sync()["to_device"]["events"]
    assert [event["content"]["n"] for event in own] == [7]


def test_only_the_users_own_dehydrated_device_is_read(alice, bob):
    device = dehydrate(alice)
    dehydrate(bob)
    for client, name in [(alice, alice.device), (alice, "other"), (bob, device)]:
        assert refused(client.raw("GET", events(name))) == (403, "M_FORBIDDEN")
    assert refused(alice.raw("GET", events(device), query={"next_batch": "x"})) == (400, "M_INVALID_PARAM")


def test_another_takes_its_place_with_an_inbox_of_its_own(alice, bob):
    first = dehydrate(alice)
    send(bob, alice, first, 1)
    second = dehydrate(alice)
    assert alice.get(DEVICE)["device_id"] == second
    assert set(query(bob, alice)) == {second}
    assert claim(bob, alice, first) is None
    assert refused(alice.raw("GET", events(first))) == (403, "M_FORBIDDEN")
    assert numbers(alice.get(events(second))) == []
    # The same device again: nothing of the one before is left.
    send(bob, alice, second, 2)
    assert dehydrate(alice, second) == second
    assert numbers(alice.get(events(second))) == []


def test_it_is_deleted_without_a_password(alice, bob):
    device = dehydrate(alice)
    assert alice.call("DELETE", DEVICE) == {"device_id": device}
    assert refused(alice.raw("GET", DEVICE)) == (404, "M_NOT_FOUND")
    assert query(bob, alice) == {}
    assert [found["device_id"] for found in alice.get(f"{V3}/devices")["devices"]] == [alice.device]


def proof(client: Client) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": client.user}
    return {"type": "m.login.password", "identifier": identifier, "password": client.password}


def test_it_ends_as_other_devices_do(alice):
    device = dehydrate(alice)
    alice.call("POST", f"{V3}/delete_devices", {"devices": [device], "auth": proof(alice)})
    assert refused(alice.raw("GET", DEVICE)) == (404, "M_NOT_FOUND")
    dehydrate(alice)
    alice.call("POST", f"{V3}/logout/all")
    assert refused(alice.login().raw("GET", DEVICE)) == (404, "M_NOT_FOUND")


def test_it_outlives_those_that_are_logged_out(alice, bob):
    device = dehydrate(alice)
    other = alice.login()
    body = {"new_password": "another long one", "logout_devices": True, "auth": proof(alice)}
    alice.call("POST", f"{V3}/account/password", body)
    assert refused(other.raw("GET", DEVICE)) == (401, "M_UNKNOWN_TOKEN")
    alice.password = "another long one"
    alice.call("POST", f"{V3}/logout")
    send(bob, alice, device, 1)
    assert numbers(alice.login().get(events(device))) == [1]


@pytest.mark.parametrize("missing", ["device_id", "device_data", "device_keys"])
def test_a_device_without_what_makes_one_is_refused(alice, missing):
    body = dehydrated(alice)
    del body[missing]
    assert refused(alice.raw("PUT", DEVICE, body)) == (400, "M_BAD_JSON")
    assert refused(alice.raw("GET", DEVICE)) == (404, "M_NOT_FOUND")


def test_bad_keys_leave_the_device_that_is_there(alice):
    device = dehydrate(alice)
    other = dehydrated(alice)
    for body in [
        {**other, "device_keys": dehydrated(alice)["device_keys"]},
        {**other, "device_data": {"device_pickle": "without an algorithm"}},
        {**other, "device_data": "text"},
        dehydrated(alice, alice.device),
    ]:
        answer = alice.raw("PUT", DEVICE, body)
        assert answer.status == 400, answer
    assert alice.get(DEVICE)["device_id"] == device
    assert alice.raw("GET", f"{V3}/account/whoami").json["device_id"] == alice.device
