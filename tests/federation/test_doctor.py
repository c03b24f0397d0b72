"""`althing doctor federation`: what is wrong between two servers, in words, while this one runs."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from harness.authority import Authority
from harness.events import Key
from harness.federation import Federation
from harness.peer import Peer, now_ms
from harness.server import free_port

pytestmark = [pytest.mark.own_server]


@pytest.fixture(scope="module")
def home(federation: Federation) -> Any:
    return federation.althing()


@pytest.fixture
def peer(federation: Federation) -> Iterator[Peer]:
    made = Peer(federation.authority)
    yield made
    made.stop()


def examine(home: Any, name: str, *words: str) -> tuple[int, str]:
    """Exit code and all that was said."""
    done: subprocess.CompletedProcess[str] = home.command("doctor", "federation", name, *words)
    return done.returncode, done.stdout + done.stderr


def wrong(home: Any, name: str, *words: str) -> str:
    """What is said where something is wrong: what, and what helps."""
    code, said = examine(home, name, *words)
    assert code == 1, said
    assert "WRONG" in said and "-> " in said, said
    return said


def test_a_server_that_is_well_accepts_our_signature(federation: Federation, home: Any) -> None:
    there = federation.althing()
    code, said = examine(home, there.name)
    assert code == 0 and "WRONG" not in said, said
    assert "it accepts it" in said and "signed by itself" in said and "clock: as ours" in said, said
    assert "Althing" in said, said


def test_this_server_is_seen_from_outside(home: Any) -> None:
    code, said = examine(home, home.name)
    assert code == 0 and "WRONG" not in said, said
    assert "this server, as others find it" in said and "the certificate is right" in said, said


def test_another_key_than_the_one_in_the_data_folder_is_told(home: Any, tmp_path: pathlib.Path) -> None:
    said = wrong(home, home.name, "-o", f"data_dir={tmp_path}")
    assert "of our data_dir is not among them" in said, said


def test_a_port_where_nobody_is(home: Any) -> None:
    said = wrong(home, f"localhost:{free_port()}")
    assert "nobody listens there" in said, said


def test_a_certificate_of_an_authority_that_nobody_knows(home: Any, tmp_path: pathlib.Path) -> None:
    stranger = Peer(Authority(tmp_path))
    try:
        said = wrong(home, stranger.name)
    finally:
        stranger.stop()
    assert "federation.trusted_ca" in said, said


def test_a_certificate_for_another_name(home: Any, federation: Federation) -> None:
    # It names `localhost` and 127.0.0.1; this is the same place by another name.
    peer = Peer(federation.authority, host="[::ffff:127.0.0.1]")
    try:
        said = wrong(home, peer.name)
    finally:
        peer.stop()
    assert "the certificate is for another name" in said, said


def test_keys_that_are_not_signed_by_themselves(home: Any, peer: Peer) -> None:
    honest = peer.keys()
    forged = {**honest, "verify_keys": {peer.key.id: {"key": Key().public}}}
    peer.on("GET", "/_matrix/key/v2/server", lambda _: (200, forged))
    assert "nobody can check what it signs" in wrong(home, peer.name)


def test_keys_of_another_server(home: Any, peer: Peer) -> None:
    said = {
        "server_name": "elsewhere.example",
        "verify_keys": {peer.key.id: {"key": peer.key.public}},
        "old_verify_keys": {},
        "valid_until_ts": now_ms() + 86_400_000,
    }
    peer.on("GET", "/_matrix/key/v2/server", lambda _: (200, peer.key.sign(said, "elsewhere.example")))
    assert "those of elsewhere.example" in wrong(home, peer.name)


def test_a_server_that_cannot_check_our_signature(home: Any, peer: Peer) -> None:
    refusal = {"errcode": "M_UNAUTHORIZED", "error": "no key of yours"}
    peer.on("GET", "/_matrix/federation/v1/query/directory", lambda _: (401, refusal))
    said = wrong(home, peer.name)
    assert "no key of yours" in said and f"althing doctor federation {home.name}" in said, said
    # It was signed, for that server.
    asked = [one for one in peer.asked if one.path.endswith("/query/directory")]
    assert [one.origin for one in asked] == [home.name]


def test_a_server_that_bars_us(home: Any, peer: Peer, federation: Federation) -> None:
    there = federation.althing(federation__deny_servers=["localhost"])
    assert "their lists of servers leave this one out" in wrong(home, there.name)


def test_a_server_that_we_bar(home: Any, peer: Peer) -> None:
    peer.on("GET", "/_matrix/federation/v1/query/directory", lambda _: (404, {"errcode": "M_NOT_FOUND"}))
    assert examine(home, peer.name)[0] == 0
    said = wrong(home, peer.name, "-o", "federation.deny_servers=localhost")
    assert "this server does not talk to that one" in said, said


def test_what_is_no_server_name_is_bad_usage(home: Any) -> None:
    assert examine(home, "https://example.org")[0] == 2
