"""Sliding sync (MSC4186) with the clients it was made for, unmodified: matrix-rust-sdk's `RoomListService`, which is what
Element X runs, and matrix-js-sdk's `SlidingSync`. Each loads a list of 1,000 rooms, scrolls through it and sees it change.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import js_side
import pytest
from harness.client import PASSWORD, Client
from harness.component import missing
from room_list import RoomList

ROOMS = int(os.environ.get("ALTHING_TEST_ROOMS", "1000"))
PAGE = 20
JUDGE = os.environ.get("ALTHING_TEST_JUDGE")


@pytest.fixture(scope="module")
def crowded(engine: str, cluster: Any) -> Iterator[tuple[Any, Client, Client, list[str]]]:
    """Somebody in very many rooms, from the one that was active first to the last."""
    from harness.server import Server

    url = cluster.create_database() if cluster else None
    server = Server(engine, {"presence.enabled": False}, store_url=url, fixed_port=True)
    # Clients go where a login tells them to.
    server.settings["public.base_url"] = f"http://127.0.0.1:{server.port}"
    server.start()
    alice, bob = Client.register(server), Client.register(server)
    rooms = [alice.create_room(name=f"Room {n}", preset="public_chat") for n in range(ROOMS)]
    yield server, alice, bob, rooms
    server.stop()


def rust(server: Any, user: Client, log: pathlib.Path) -> RoomList:
    if not JUDGE:
        missing("the judge is not built: `tools/test --only clients` builds it")
    assert JUDGE is not None
    return RoomList([JUDGE, server.base_url, user.localpart, PASSWORD], log)


def js(server: Any, user: Client, log: pathlib.Path) -> RoomList:
    if (why := js_side.missing()) is not None:
        missing(why)
    client = RoomList([js_side.node(), "sliding.mjs", server.base_url], log, cwd=js_side.JS)
    device = user.login()
    client.say(json.dumps({"userId": user.user, "accessToken": device.token, "deviceId": device.device}))
    return client


@pytest.mark.parametrize("open_client", [rust, js])
def test_a_list_of_very_many_rooms(
    crowded: tuple[Any, Client, Client, list[str]],
    open_client: Callable[[Any, Client, pathlib.Path], RoomList],
    tmp_path: pathlib.Path,
) -> None:
    server, alice, bob, rooms = crowded
    client = open_client(server, alice, tmp_path / "client.log")
    try:
        there = len(alice.get("/_matrix/client/v3/joined_rooms")["joined_rooms"])
        client.until(lambda: client.rooms == there, "the number of rooms")
        client.until(lambda: len(client.shown) >= PAGE, "a first page")
        client.scroll(there)
        client.until(lambda: set(rooms) <= set(client.shown), "every room")

        # The room that was quiet longest moves to the top, and is unread.
        quiet = rooms[7]
        bob.join(quiet)
        bob.text(quiet, f"hello {alice.localpart}", **{"m.mentions": {"user_ids": [alice.user]}})
        client.until(lambda: client.shown[0] == quiet, "the room that spoke at the top")
        client.until(lambda: client.first[quiet]["notifications"] >= 1, "its count")
        client.until(lambda: client.first[quiet]["members"] == 2, "its members")

        # An invite appears, a room that was left goes.
        invited = bob.create_room(alice, name="Come in")
        client.until(lambda: invited in client.shown, "the invite")
        alice.leave(invited)
        client.until(lambda: invited not in client.shown, "the invite gone")

        # A room that is opened brings its messages.
        client.say(f"open {quiet}")
        alice.text(quiet, "answered")
        alice.receipt(quiet, alice.text(quiet, "and read"))
        client.until(lambda: client.first.get(quiet, {}).get("notifications") == 0, "nothing unread")
        bob.leave(quiet)
    finally:
        client.close()
