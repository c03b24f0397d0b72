"""Torn tails: the pages written last are damaged on a copy of the store, and never served as data.

A server on such a copy may refuse to start or answer with its own fault; whatever it does answer with
200 must be what was stored. The repository's unit tests look at the checksums; this looks from outside.
"""

from __future__ import annotations

import http.client
import os
import pathlib
import random
import shutil
from typing import Any

import pytest

from harness.client import Client
from harness.server import Server

SEED = int(os.environ.get("ALTHING_TEST_SEED", str(random.randrange(1 << 32))))
COPIES = int(os.environ.get("ALTHING_TEST_TORN", "24"))
PAGE = 4096


def files(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def copy_store(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies the regular files; a socket that the killed server left is none."""
    for name, content in files(source).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
        (target / name).chmod((source / name).stat().st_mode)


def written_since(before: dict[pathlib.Path, bytes], folder: pathlib.Path) -> list[tuple[pathlib.Path, int]]:
    """The pages of the store that differ: those of the last writes."""
    pages = []
    for name, now in files(folder).items():
        then = before.get(name, b"")
        if len(now) < 4 * PAGE:
            continue
        for at in range(0, len(now), PAGE):
            if now[at : at + PAGE] != then[at : at + PAGE]:
                pages.append((name, at))
    return pages


def damage(folder: pathlib.Path, pages: list[tuple[pathlib.Path, int]], dice: random.Random) -> None:
    """A page that was written in part, not at all, or with something else."""
    for name, at in dice.sample(pages, min(len(pages), dice.choice([1, 2, 8]))):
        with open(folder / name, "r+b") as store:
            page = bytearray(PAGE)
            store.seek(at)
            store.readinto(page)
            start = dice.choice([0, 16, 512, 2048, dice.randrange(PAGE)])
            length = dice.choice([1, 16, 512, PAGE])
            wrong = bytes(length) if dice.random() < 0.5 else dice.randbytes(length)
            page[start : start + length] = wrong[: PAGE - start]
            store.seek(at)
            store.write(page[:PAGE])


def read_all(client: Client, room: str, truth: dict[str, Any]) -> tuple[int, int]:
    """Reads everything; (answers that were right, answers that were refused). A wrong one fails."""
    right = refused = 0
    targets = [client.room_call(room, "event", event) for event in truth]
    for target in [*targets, client.room_call(room, "messages") + "?dir=b&limit=1000", client.room_call(room, "state")]:
        try:
            answer = client.raw("GET", target, timeout=10)
        except (OSError, http.client.HTTPException):
            refused += 1
            continue
        if answer.status != 200:
            refused += 1
            continue
        body = answer.json
        events = body if isinstance(body, list) else body.get("chunk", [body])
        for event in events:
            assert event["event_id"] in truth, event
            assert event["content"] == truth[event["event_id"]]["content"]
            assert event["sender"] == truth[event["event_id"]]["sender"]
        right += 1
    return right, refused


@pytest.mark.own_server
@pytest.mark.timeout(900)
@pytest.mark.only_engine("embedded")
def test_damaged_pages_are_never_served(make_server, tmp_path):
    print(f"ALTHING_TEST_SEED={SEED}")
    dice = random.Random(SEED)
    home = make_server()
    alice = Client.register(home)
    room = alice.create_room()
    for number in range(30):
        alice.text(room, f"early {number} " + "x" * dice.randrange(2000))
    home.kill9()
    before = files(home.data_dir)
    home.start()
    for number in range(30):
        alice.text(room, f"late {number} " + "y" * dice.randrange(2000))
    truth = {event["event_id"]: event for event in alice.history(room)}
    home.kill9()
    pages = written_since(before, home.data_dir)
    assert pages

    served = noticed = 0
    for number in range(COPIES):
        copy = tmp_path / str(number)
        copy_store(home.data_dir, copy)
        damage(copy, pages, dice)
        server = Server("embedded", data_dir=copy)
        try:
            server.start()
        except (RuntimeError, TimeoutError):
            noticed += 1
            shutil.rmtree(server.dir, ignore_errors=True)
            continue
        reader = Client(server, {"user_id": alice.user, "access_token": alice.token})
        right, refused = read_all(reader, room, truth)
        served, noticed = served + (right > 0), noticed + (refused > 0)
        if server.process is not None:
            server.kill9()
        shutil.rmtree(server.dir, ignore_errors=True)
        shutil.rmtree(copy, ignore_errors=True)
    print(f"{COPIES} damaged copies of {len(pages)} pages: {served} still served something, {noticed} noticed")
    assert noticed, "no damage was ever noticed: it hit nothing"
