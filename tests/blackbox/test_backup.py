"""Backups of the keys of rooms (Client-Server API, "Server-side key backups")."""

from __future__ import annotations

import concurrent.futures
import json
from typing import Any

import pytest

from harness.client import V3, Client
from harness.wire import Response, path

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM = "!room:example.org"


def create(client: Client, **auth_data: Any) -> str:
    body = {"algorithm": ALGORITHM, "auth_data": auth_data or {"public_key": "abc"}}
    return client.call("POST", f"{V3}/room_keys/version", body)["version"]


def key(first: int = 0, verified: bool = False, forwarded: int = 0, **data: Any) -> dict[str, Any]:
    return {
        "first_message_index": first, "forwarded_count": forwarded, "is_verified": verified,
        "session_data": {"ephemeral": "e", "ciphertext": "c", "mac": "m", **data},
    }  # fmt: skip


def keys(*segments: str) -> str:
    return path(f"{V3}/room_keys/keys", *segments)


def put(client: Client, version: str, body: Any, *segments: str) -> Any:
    return client.call("PUT", keys(*segments), body, query={"version": version})


def get(client: Client, version: str, *segments: str) -> Any:
    return client.get(keys(*segments), version=version)


def ask(client: Client, method: str, version: str, *segments: str, body: Any = None) -> Response:
    return client.raw(method, keys(*segments), body, query={"version": version})


def latest(client: Client) -> Any:
    return client.get(f"{V3}/room_keys/version")


def refused(answer: Response) -> tuple[int, str]:
    return answer.status, answer.errcode


def test_there_is_no_backup_until_one_is_made(alice):
    assert refused(alice.raw("GET", f"{V3}/room_keys/version")) == (404, "M_NOT_FOUND")
    version = create(alice, public_key="k", signatures={alice.user: {"ed25519:D": "s"}})
    auth_data = {"public_key": "k", "signatures": {alice.user: {"ed25519:D": "s"}}}
    shown = latest(alice)
    etag = shown.pop("etag")
    assert isinstance(etag, str)
    assert shown == {"algorithm": ALGORITHM, "auth_data": auth_data, "count": 0, "version": version}
    assert alice.get(f"{V3}/room_keys/version/{version}") == {**shown, "etag": etag}


def test_a_backup_is_its_users_alone(alice, bob):
    version = create(alice)
    put(alice, version, key(), ROOM, "s")
    assert refused(ask(bob, "GET", version)) == (404, "M_NOT_FOUND")
    assert refused(bob.raw("GET", f"{V3}/room_keys/version/{version}")) == (404, "M_NOT_FOUND")


def test_every_device_of_the_user_reads_what_one_put_there(alice):
    version = create(alice)
    first = put(alice, version, {"rooms": {ROOM: {"sessions": {"s1": key(1), "s2": key(2)}}}})
    assert first["count"] == 2
    second = put(alice, version, {"sessions": {"s3": key(3)}}, ROOM)
    third = put(alice, version, key(4), "!other:example.org", "s4")
    assert (second["count"], third["count"]) == (3, 4)
    assert len({first["etag"], second["etag"], third["etag"]}) == 3
    other = alice.login()
    sessions = {"s1": key(1), "s2": key(2), "s3": key(3)}
    everything = {"rooms": {ROOM: {"sessions": sessions}, "!other:example.org": {"sessions": {"s4": key(4)}}}}
    assert get(other, version) == everything
    assert get(other, version, ROOM) == {"sessions": sessions}
    assert get(other, version, ROOM, "s1") == key(1)
    shown = latest(other)
    assert (shown["count"], shown["etag"]) == (4, third["etag"])


def test_what_is_unknown_in_a_key_comes_back_as_it_was(alice):
    version = create(alice)
    given = {**key(0, unknown=[1.5, None, {"é": "\u0007"}]), "org.example.other": {"a": "b"}}
    put(alice, version, given, ROOM, "s")
    assert get(alice, version, ROOM, "s") == given


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (key(9, verified=True, forwarded=9), key(0)),
        (key(1, forwarded=9), key(2)),
        (key(1, verified=True, forwarded=1), key(1, verified=True, forwarded=2)),
    ],
    ids=["verified", "earlier", "forwarded less"],
)
def test_the_better_key_is_kept_whichever_comes_first(alice, better, worse):
    version = create(alice)
    for name, order in {"a": (better, worse), "b": (worse, better)}.items():
        etags = [put(alice, version, k, ROOM, name)["etag"] for k in order]
        assert get(alice, version, ROOM, name) == better
        assert (etags[0] == etags[1]) == (name == "a"), "the etag changes with the keys only"


def test_of_two_keys_alike_the_first_is_kept(alice):
    version = create(alice)
    put(alice, version, key(1, which="first"), ROOM, "s")
    put(alice, version, key(1, which="second"), ROOM, "s")
    assert get(alice, version, ROOM, "s") == key(1, which="first")


def test_nothing_found_is_an_empty_object_and_a_missing_key_is_not_found(alice):
    version = create(alice)
    assert get(alice, version) == {"rooms": {}}
    assert get(alice, version, ROOM) == {"sessions": {}}
    assert refused(ask(alice, "GET", version, ROOM, "s")) == (404, "M_NOT_FOUND")
    for segments in [(), (ROOM,), (ROOM, "s")]:
        assert refused(ask(alice, "GET", "77", *segments)) == (404, "M_NOT_FOUND")
        assert refused(ask(alice, "DELETE", "77", *segments)) == (404, "M_NOT_FOUND")
        assert refused(alice.raw("GET", keys(*segments))) == (400, "M_MISSING_PARAM")


def test_an_older_backup_takes_no_keys_and_its_owner_is_told_of_the_newer(alice):
    old, new = create(alice), create(alice)
    bodies = {(): {"rooms": {ROOM: {"sessions": {"s": key()}}}}, (ROOM,): {"sessions": {"s": key()}}, (ROOM, "s"): key()}
    for segments, body in bodies.items():
        answer = ask(alice, "PUT", old, *segments, body=body)
        assert refused(answer) == (403, "M_WRONG_ROOM_KEYS_VERSION")
        assert answer.json["current_version"] == new
        assert ask(alice, "PUT", new, *segments, body=body).status == 200
    assert get(alice, old) == {"rooms": {}}


def test_without_a_backup_no_key_is_taken(alice):
    body = {"rooms": {ROOM: {"sessions": {"s": key()}}}}
    assert refused(ask(alice, "PUT", "1", body=body)) == (404, "M_NOT_FOUND")


def test_keys_are_deleted_one_by_one_by_room_and_all(alice):
    version = create(alice)
    rooms = {room: {"sessions": {f"s{n}": key(n) for n in range(3)}} for room in ("!a:x.org", "!b:x.org", "!c:x.org")}
    etag = put(alice, version, {"rooms": rooms})["etag"]
    for segments, count in [(("!a:x.org", "s1"), 8), (("!b:x.org",), 5), ((), 0)]:
        answer = ask(alice, "DELETE", version, *segments)
        assert answer.status == 200, answer
        assert answer.json["count"] == count == latest(alice)["count"]
        assert answer.json["etag"] != etag
        etag = answer.json["etag"]
        again = ask(alice, "DELETE", version, *segments)
        assert (again.status, again.json["etag"]) == (200, etag), "nothing changed"
        if count == 5:
            kept = {"!a:x.org": {"sessions": {"s0": key(0), "s2": key(2)}}, "!c:x.org": rooms["!c:x.org"]}
            assert get(alice, version) == {"rooms": kept}
    assert get(alice, version) == {"rooms": {}}


def test_only_auth_data_can_be_changed(alice):
    version = create(alice)
    place = f"{V3}/room_keys/version/{version}"
    alice.call("PUT", place, {"algorithm": ALGORITHM, "auth_data": {"public_key": "new"}})
    alice.call("PUT", place, {"algorithm": ALGORITHM, "auth_data": {"public_key": "newer"}, "version": version})
    assert latest(alice)["auth_data"] == {"public_key": "newer"}
    for body in [
        {"algorithm": "m.other", "auth_data": {}},
        {"algorithm": ALGORITHM, "auth_data": {}, "version": "77"},
    ]:
        assert refused(alice.raw("PUT", place, body)) == (400, "M_INVALID_PARAM")
    missing = alice.raw("PUT", f"{V3}/room_keys/version/77", {"algorithm": ALGORITHM, "auth_data": {}})
    assert refused(missing) == (404, "M_NOT_FOUND")
    assert latest(alice)["auth_data"] == {"public_key": "newer"}


def test_a_deleted_backup_is_gone_and_its_number_never_comes_back(alice):
    first, second = create(alice), create(alice)
    put(alice, second, key(), ROOM, "s")
    for _ in range(2):
        alice.call("DELETE", f"{V3}/room_keys/version/{second}")
    assert refused(ask(alice, "GET", second)) == (404, "M_NOT_FOUND")
    assert latest(alice)["version"] == first, "the one before takes keys again"
    third = create(alice)
    assert third not in (first, second)
    assert get(alice, third) == {"rooms": {}}
    never = alice.raw("DELETE", f"{V3}/room_keys/version/77")
    assert refused(never) == (404, "M_NOT_FOUND")


def test_a_body_of_many_keys_is_taken_whole_and_read_back_whole(alice):
    version = create(alice)
    rooms = {
        f"!room{n:02d}:example.org": {"sessions": {f"session{m:03d}": key(m, ciphertext="x" * 1200) for m in range(100)}}
        for n in range(20)
    }
    assert len(json.dumps({"rooms": rooms})) > 2 << 20
    assert put(alice, version, {"rooms": rooms})["count"] == 2_000
    assert get(alice, version) == {"rooms": rooms}
    assert get(alice, version, "!room07:example.org") == rooms["!room07:example.org"]
    answer = ask(alice, "DELETE", version, "!room07:example.org")
    assert (answer.status, answer.json["count"]) == (200, 1_900)


def test_a_body_without_bound_is_refused(alice):
    version = create(alice)
    answer = alice.raw("PUT", keys(), data=b"x" * (9 << 20), query={"version": version})
    assert refused(answer) == (413, "M_TOO_LARGE")


def test_keys_put_at_once_by_two_devices_are_all_counted(alice):
    version = create(alice)
    other = alice.login()

    def some(client: Client, name: str) -> None:
        for n in range(20):
            put(client, version, {"sessions": {f"{name}{n}": key(), "both": key(20 - n)}}, ROOM)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(some, alice, "a"), pool.submit(some, other, "b")]:
            done.result()
    assert latest(alice)["count"] == 41 == len(get(alice, version, ROOM)["sessions"])
    assert get(alice, version, ROOM, "both") == key(1)
