"""Keys of devices and users: published, claimed once, signed, and whose changed."""

from __future__ import annotations

import concurrent.futures
import copy

from harness.client import PASSWORD, V3, Client, password_login
from harness.events import Key

USUAL = "signed_curve25519"


def device_keys(client: Client) -> dict:
    key = Key(client.device)
    keys = {
        "user_id": client.user, "device_id": client.device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{client.device}": key.public, f"curve25519:{client.device}": "c" * 43},
    }  # fmt: skip
    return key.sign(keys, client.user)


def one_time(*names: str) -> dict:
    return {f"{USUAL}:{name}": {"key": name * 8, "signatures": {}} for name in names}


def upload(client: Client, **keys: object) -> dict:
    return client.call("POST", f"{V3}/keys/upload", keys)["one_time_key_counts"]


def query(client: Client, *users: str) -> dict:
    return client.call("POST", f"{V3}/keys/query", {"device_keys": {user: [] for user in users}})


def claim(client: Client, owner: Client) -> str | None:
    asked = {"one_time_keys": {owner.user: {owner.device: USUAL}}}
    given = client.call("POST", f"{V3}/keys/claim", asked)["one_time_keys"]
    return next(iter(given[owner.user][owner.device])) if given else None


def changed(answer: dict) -> list[str]:
    return answer.get("device_lists", {}).get("changed", [])


def left(answer: dict) -> list[str]:
    return answer.get("device_lists", {}).get("left", [])


def test_device_keys_are_found_with_the_name_of_the_device(alice, bob):
    keys = device_keys(bob)
    assert upload(bob, device_keys=keys) == {USUAL: 0}
    bob.call("PUT", f"{V3}/devices/{bob.device}", {"display_name": "Bob's phone"})
    found = query(alice, bob.user)["device_keys"][bob.user][bob.device]
    assert found == {**keys, "unsigned": {"device_display_name": "Bob's phone"}}


def test_keys_of_another_device_are_refused(alice, bob):
    answer = alice.raw("POST", f"{V3}/keys/upload", {"device_keys": device_keys(bob)})
    assert answer.status == 400, answer


def test_unknown_users_are_missing(alice):
    nobody = f"@nobody:{alice.server_name}"
    assert nobody not in query(alice, nobody)["device_keys"]


def test_one_time_keys_are_claimed_once_and_counted(alice, bob):
    names = [f"{n:02d}" for n in range(20)]
    assert upload(bob, one_time_keys=one_time(*names)) == {USUAL: 20}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        given = [name for name in pool.map(lambda _: claim(alice, bob), range(30)) if name]
    assert sorted(given) == sorted(one_time(*names))
    assert bob.sync()["device_one_time_keys_count"] == {USUAL: 0}


def test_another_key_under_the_same_name_is_refused(bob):
    upload(bob, one_time_keys=one_time("a"))
    assert upload(bob, one_time_keys=one_time("a")) == {USUAL: 1}
    other = {f"{USUAL}:a": {"key": "other", "signatures": {}}}
    assert bob.raw("POST", f"{V3}/keys/upload", {"one_time_keys": other}).status == 400


def test_the_fallback_key_serves_when_nothing_else_is_left(alice, bob):
    fallback = {f"{USUAL}:fall": {"key": "f" * 43, "fallback": True, "signatures": {}}}
    upload(bob, one_time_keys=one_time("a"), fallback_keys=fallback)
    assert bob.sync()["device_unused_fallback_key_types"] == [USUAL]
    assert [claim(alice, bob) for _ in range(3)] == [f"{USUAL}:a", f"{USUAL}:fall", f"{USUAL}:fall"]
    assert bob.sync()["device_unused_fallback_key_types"] == []


def test_changes_of_devices_reach_those_who_share_a_room(alice, bob):
    carol = Client.register(alice.server)
    alice.room_with(bob)
    start = alice.sync()["next_batch"]
    carol.sync()
    keys = device_keys(bob)
    upload(bob, device_keys=keys)
    answer = alice.sync_until(lambda answer: answer if bob.user in changed(answer) else None)
    listed = alice.get(f"{V3}/keys/changes", **{"from": start, "to": answer["next_batch"]})
    assert listed == {"changed": [bob.user], "left": []}
    assert changed(carol.sync()) == []
    # The same once more is no change.
    upload(bob, device_keys=keys)
    assert changed(alice.sync()) == []


def test_who_comes_is_changed_and_who_goes_has_left(alice, bob):
    room = alice.create_room(preset="public_chat")
    alice.sync(), bob.sync()
    bob.join(room)
    assert bob.user in changed(alice.sync()) and alice.user in changed(bob.sync())
    bob.leave(room)
    assert left(alice.sync()) == [bob.user] and left(bob.sync()) == [alice.user]


def test_who_still_shares_another_room_has_not_left(alice, bob):
    alice.room_with(bob)
    room = alice.room_with(bob)
    alice.sync()
    bob.leave(room)
    assert left(alice.sync()) == []


def test_keys_end_with_their_device(alice, bob):
    phone = bob.login()
    upload(phone, device_keys=device_keys(phone), one_time_keys=one_time("a"))
    assert phone.device in query(alice, bob.user)["device_keys"][bob.user]
    phone.call("POST", f"{V3}/logout")
    assert phone.device not in query(alice, bob.user)["device_keys"][bob.user]
    assert claim(alice, phone) is None


class Identity:
    """The cross-signing keys of a user."""

    def __init__(self, client: Client):
        self.client = client
        self.keys = {}
        for usage in ("master", "self_signing", "user_signing"):
            # A cross-signing key is named by itself.
            key = Key("x")
            key.id = f"ed25519:{key.public}"
            self.keys[usage] = key

    def object(self, usage: str) -> dict:
        key = self.keys[usage]
        told = {"user_id": self.client.user, "usage": [usage], "keys": {key.id: key.public}}
        return told if usage == "master" else self.keys["master"].sign(told, self.client.user)

    def body(self) -> dict:
        return {f"{usage}_key": self.object(usage) for usage in self.keys}

    def upload(self, **more: object):
        return self.client.raw("POST", f"{V3}/keys/device_signing/upload", {**self.body(), **more})


def sign(client: Client, user: str, name: str, thing: dict) -> dict:
    return client.call("POST", f"{V3}/keys/signatures/upload", {user: {name: thing}})["failures"]


def test_cross_signing_keys_are_replaced_only_by_who_knows_the_password(alice, bob):
    first, second = Identity(alice), Identity(alice)
    assert first.upload().status == 200
    assert first.upload().status == 200
    asked = second.upload()
    assert asked.status == 401, asked
    auth = {**password_login(alice.user, PASSWORD), "session": asked.json["session"]}
    found = query(bob, alice.user)
    assert found["master_keys"][alice.user] == first.object("master")
    assert second.upload(auth=auth).status == 200
    found = query(bob, alice.user)
    assert found["master_keys"][alice.user] == second.object("master")
    assert found["self_signing_keys"][alice.user] == second.object("self_signing")
    assert alice.user not in found["user_signing_keys"]
    assert query(alice, alice.user)["user_signing_keys"][alice.user] == second.object("user_signing")


def test_keys_that_the_master_key_did_not_sign_are_refused(alice):
    mine, other = Identity(alice), Identity(alice)
    answer = mine.upload(self_signing_key=other.object("self_signing"))
    assert (answer.status, answer.errcode) == (400, "M_INVALID_SIGNATURE"), answer


def test_a_signed_device_is_seen_as_signed_by_everyone(alice, bob):
    identity, keys = Identity(alice), device_keys(alice)
    upload(alice, device_keys=keys)
    identity.upload()
    signed = identity.keys["self_signing"].sign(copy.deepcopy(keys), alice.user)
    assert sign(alice, alice.user, alice.device, signed) == {}
    found = query(bob, alice.user)["device_keys"][alice.user][alice.device]
    assert len(found["signatures"][alice.user]) == 2
    # Uploading the keys once more takes no signature away.
    upload(alice, device_keys=keys)
    assert query(bob, alice.user)["device_keys"][alice.user][alice.device] == found


def test_whom_a_user_trusts_is_seen_by_that_user_only(alice, bob):
    mine, theirs = Identity(alice), Identity(bob)
    mine.upload(), theirs.upload()
    master = theirs.object("master")
    name = theirs.keys["master"].public
    forged = Identity(alice).keys["user_signing"].sign(dict(master), alice.user)
    assert sign(alice, bob.user, name, forged)[bob.user][name]["errcode"] == "M_INVALID_SIGNATURE"
    alice.sync(), bob.sync()
    assert sign(alice, bob.user, name, mine.keys["user_signing"].sign(dict(master), alice.user)) == {}
    assert bob.user in changed(alice.sync()) and changed(bob.sync()) == []
    assert alice.user in query(alice, bob.user)["master_keys"][bob.user]["signatures"]
    assert "signatures" not in query(bob, bob.user)["master_keys"][bob.user]


def test_a_device_is_not_named_like_a_cross_signing_key(alice):
    """Spec: `device_id` of `POST /login`."""
    identity = Identity(alice)
    assert identity.upload().status == 200
    for usage in identity.keys:
        body = password_login(alice.user, PASSWORD, device_id=identity.keys[usage].public)
        answer = alice.raw("POST", f"{V3}/login", body)
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer


def test_a_cross_signing_key_is_not_named_like_a_device(alice):
    identity = Identity(alice)
    alice.login(device_id=identity.keys["self_signing"].public)
    answer = identity.upload()
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), answer


def test_keys_without_a_master_key_are_refused(alice):
    body = {"self_signing_key": Identity(alice).object("self_signing")}
    answer = alice.raw("POST", f"{V3}/keys/device_signing/upload", body)
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM"), answer


def test_signatures_that_do_not_hold_are_refused_one_by_one(alice, bob):
    mine, theirs = Identity(alice), Identity(bob)
    keys = device_keys(alice)
    upload(alice, device_keys=keys), upload(bob, device_keys=device_keys(bob))
    mine.upload(), theirs.upload()
    good = mine.keys["self_signing"].sign(copy.deepcopy(keys), alice.user)
    forged = theirs.keys["self_signing"].sign(copy.deepcopy(keys), alice.user)
    changed_keys = mine.keys["self_signing"].sign({**copy.deepcopy(keys), "algorithms": []}, alice.user)
    for wrong, code in ((forged, "M_INVALID_SIGNATURE"), (changed_keys, "M_INVALID_PARAM")):
        body = {alice.user: {alice.device: wrong, "NOSUCH": good}}
        failures = alice.call("POST", f"{V3}/keys/signatures/upload", body)["failures"][alice.user]
        assert (failures[alice.device]["errcode"], failures["NOSUCH"]["errcode"]) == (code, "M_NOT_FOUND")
    # Nobody signs another's devices: only their master key.
    device = query(alice, bob.user)["device_keys"][bob.user][bob.device]
    signed = mine.keys["user_signing"].sign({k: v for k, v in device.items() if k != "unsigned"}, alice.user)
    assert bob.device in sign(alice, bob.user, bob.device, signed)[bob.user]
    assert alice.user not in query(alice, bob.user)["device_keys"][bob.user][bob.device]["signatures"]
    found = query(bob, alice.user)["device_keys"][alice.user][alice.device]
    assert found["signatures"] == keys["signatures"]


def test_signatures_on_the_own_master_key_are_seen_by_everyone(alice, bob):
    identity, keys = Identity(alice), device_keys(alice)
    upload(alice, device_keys=keys)
    identity.upload()
    key = Key(alice.device)
    other = key.sign(identity.object("master"), alice.user)
    name = identity.keys["master"].public
    # A key of the same name that is not the device's.
    assert sign(alice, alice.user, name, other)[alice.user][name]["errcode"] == "M_INVALID_SIGNATURE"
    assert "signatures" not in query(bob, alice.user)["master_keys"][alice.user]


def test_devices_without_a_key_left_are_counted(make_server):
    server = make_server()
    alice, bob = Client.register(server), Client.register(server)
    upload(bob, device_keys=device_keys(bob))
    assert claim(alice, bob) is None
    fallback = {f"{USUAL}:fall": {"key": "f" * 43, "fallback": True, "signatures": {}}}
    upload(bob, fallback_keys=fallback)
    assert claim(alice, bob) == f"{USUAL}:fall"
    lines = server.wire.request("GET", "/metrics").body.decode().splitlines()
    for what in ("given", "none"):
        assert f'althing_one_time_keys_exhausted_total{{fallback="{what}"}} 1' in lines
