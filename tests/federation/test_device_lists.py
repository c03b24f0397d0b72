"""Devices of users of other servers: kept, kept current, and asked for again after a gap; and ours, as others are told of them.

Spec: Server-Server API, "Device Management".
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from harness.client import V3, Client
from harness.federation import Federation, eventually
from harness.peer import V1, Asked, Peer
from harness.wire import path
from hostile import Siege

pytestmark = [pytest.mark.own_server]


def keys(user: str, device: str, text: str) -> dict[str, Any]:
    named = {f"ed25519:{device}": text, f"curve25519:{device}": text}
    return {"user_id": user, "device_id": device, "algorithms": ["m.olm.v1.curve25519-aes-sha2"], "keys": named}


class Theirs:
    """The devices of Mallory, as the peer tells of them."""

    def __init__(self, siege: Siege) -> None:
        self.siege, self.user, self.version = siege, siege.mallory, 1
        self.devices: dict[str, str] = {}
        siege.peer.on("POST", f"{V1}/user/keys/query", self._query)
        siege.peer.on("GET", f"{V1}/user/devices", self._list)

    def _all(self) -> dict[str, Any]:
        return {device: keys(self.user, device, text) for device, text in self.devices.items()}

    def _query(self, _: Asked) -> tuple[int, Any]:
        return 200, {"device_keys": {self.user: self._all()}}

    def _list(self, _: Asked) -> tuple[int, Any]:
        devices = [{"device_id": device, "keys": told} for device, told in self._all().items()]
        return 200, {"user_id": self.user, "stream_id": self.version, "devices": devices}

    def change(self, device: str, text: str | None, *, told: bool = True) -> None:
        """A device is made, changed or (none) deleted; its server tells of it, or the telling is lost."""
        before, self.version = self.version, self.version + 1
        content = {"user_id": self.user, "device_id": device, "stream_id": self.version, "prev_id": [before]}
        if text is None:
            del self.devices[device]
            content["deleted"] = True
        else:
            self.devices[device] = text
            content["keys"] = keys(self.user, device, text)
        if told:
            self.siege.peer.tell(self.siege.home, edus=[{"edu_type": "m.device_list_update", "content": content}])

    def seen(self) -> tuple[dict[str, str], list[str]]:
        """As Alice finds them, and the servers that failed."""
        body = {"device_keys": {self.user: []}}
        found = self.siege.alice.call("POST", f"{V3}/keys/query", body)
        devices = found["device_keys"].get(self.user, {})
        texts = {device: told["keys"][f"ed25519:{device}"] for device, told in devices.items()}
        return texts, list(found["failures"])

    def asked(self) -> tuple[int, int]:
        count = self.siege.peer.count
        return count("POST", f"{V1}/user/keys/query"), count("GET", f"{V1}/user/devices")


def changed(answer: dict[str, Any]) -> list[str]:
    return answer.get("device_lists", {}).get("changed", [])


def test_devices_elsewhere_are_kept_and_kept_current(siege: Siege) -> None:
    siege.room()
    theirs = Theirs(siege)
    theirs.devices["A"] = "1"
    assert [theirs.seen() for _ in range(3)] == [({"A": "1"}, [])] * 3
    assert theirs.asked() == (1, 0)
    siege.alice.sync()
    theirs.change("B", "1")
    siege.alice.sync_until(lambda answer: theirs.user in changed(answer))
    assert theirs.seen() == ({"A": "1", "B": "1"}, [])
    asked = theirs.asked()
    theirs.change("B", "2")
    theirs.change("A", None)
    assert theirs.seen() == ({"B": "2"}, [])
    assert theirs.asked() == asked, "what follows upon what is known needs no question"
    assert theirs.user in changed(siege.alice.sync())
    # An update is lost; the next one shows it.
    theirs.change("C", "1", told=False)
    theirs.change("D", "1")
    siege.alice.sync_until(lambda answer: theirs.user in changed(answer))
    assert theirs.seen() == ({"B": "2", "C": "1", "D": "1"}, [])
    # The server is down: what is known is told, and nobody failed.
    siege.home.restart()
    siege.peer.stop()
    assert theirs.seen() == ({"B": "2", "C": "1", "D": "1"}, [])


def test_whose_devices_are_not_known_fails_with_their_server(siege: Siege) -> None:
    siege.room()
    theirs = Theirs(siege)
    siege.peer.stop()
    assert theirs.seen() == ({}, [siege.peer.name])


def test_a_list_is_forgotten_with_the_last_room(siege: Siege) -> None:
    room = siege.room()
    theirs = Theirs(siege)
    theirs.devices["A"] = "1"
    theirs.seen()
    siege.alice.sync()
    leave = siege.peer.event(room, theirs.user, "m.room.member", {"membership": "leave"}, theirs.user)
    siege.peer.tell(siege.home, leave)
    left = siege.alice.sync_until(lambda answer: answer.get("device_lists", {}).get("left"))
    assert left == [theirs.user]
    # What changes now is told to nobody here, and so it is asked for.
    theirs.devices["A"] = "2"
    assert theirs.seen() == ({"A": "2"}, [])


def updates(peer: Peer, client: Client) -> list[dict[str, Any]]:
    told = [edu["content"] for edu in peer.edus if edu["edu_type"] == "m.device_list_update"]
    return [content for content in told if content["user_id"] == client.user]


def listed(siege: Siege) -> dict[str, Any]:
    return siege.peer.get(siege.home, path(f"{V1}/user/devices", siege.alice.user))


def test_our_updates_leave_no_gap_and_lead_to_the_version_of_the_list(siege: Siege) -> None:
    siege.room()
    alice = siege.alice
    first = listed(siege)["stream_id"]
    phone = alice.login(device_id="PHONE")
    phone.call("POST", f"{V3}/keys/upload", {"device_keys": keys(alice.user, "PHONE", "1")})
    phone.call("PUT", f"{V3}/devices/PHONE", {"display_name": "Phone"})
    phone.call("POST", f"{V3}/logout")
    last = listed(siege)["stream_id"]
    siege.peer.wait(
        lambda: any(one["stream_id"] == last for one in updates(siege.peer, alice)), "the end of the device"
    )
    told = updates(siege.peer, alice)
    assert {one["device_id"] for one in told} == {"PHONE"}
    chain = [first]
    for one in told:
        assert one["prev_id"] == [chain[-1]], told
        chain.append(one["stream_id"])
    assert chain == sorted(set(chain))
    assert chain[-1] == last
    assert told[-1]["deleted"] and "keys" not in told[-1]


@pytest.mark.only_engine("embedded")
def test_after_a_backup_was_restored_others_ask_again(federation: Federation, peer: Peer) -> None:
    home = federation.althing()
    siege = Siege(federation, home, peer)
    room = siege.room()
    alice = siege.alice
    alice.login(device_id="BEFORE")
    backup = home.dir / "backup"
    assert home.command("backup", str(backup)).returncode == 0
    alice.login(device_id="LOST")
    peer.wait(lambda: any(one["device_id"] == "LOST" for one in updates(peer, alice)), "the update that is lost")
    known = {one["stream_id"] for one in updates(peer, alice)}
    known |= {before for one in updates(peer, alice) for before in one["prev_id"]}
    home.terminate()
    shutil.rmtree(home.data_dir)
    shutil.copytree(backup, home.data_dir)
    peer.edus.clear()
    home.start()

    def unknown() -> list[dict[str, Any]]:
        """Updates that follow upon a version that nobody was told of: others ask for the list."""
        return [one for one in updates(peer, alice) if not known & set(one["prev_id"])]

    peer.wait(unknown, "an update after a gap")
    update = unknown()[0]
    assert update["stream_id"] > max(known)
    assert listed(siege)["stream_id"] == update["stream_id"]
    assert "LOST" not in {device["device_id"] for device in listed(siege)["devices"]}
    # And it still tells what happens, under names that are no old ones.
    event = alice.text(room.id, "after")
    eventually(lambda: event in room.events, "an event after the restart")
