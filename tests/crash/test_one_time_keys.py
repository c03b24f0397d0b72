"""One-time keys are given out at most once, ever: to many at once, through `kill -9`, and after a backup was restored.

`ALTHING_TEST_KEYS` says how many are uploaded and claimed (default 500, the full number is 10,000).
"""

from __future__ import annotations

import collections
import http.client
import os
import shutil
import threading

import pytest

from harness.client import V3, Client
from harness.postgres import Cluster
from harness.server import Server
from harness.wire import Wire

KEYS = int(os.environ.get("ALTHING_TEST_KEYS", "500"))
CLAIMERS, BATCH = 64, 50
USUAL = "signed_curve25519"
BROKEN = (OSError, http.client.HTTPException)


def names(first: int, many: int) -> list[str]:
    return [f"{USUAL}:{number:08d}" for number in range(first, first + many)]


def body(keys: list[str]) -> dict:
    return {"one_time_keys": {name: {"key": name * 2, "signatures": {}} for name in keys}}


def upload(client: Client, keys: list[str]) -> int:
    return client.call("POST", f"{V3}/keys/upload", body(keys))["one_time_key_counts"][USUAL]


def claim_once(wire: Wire, client: Client, owner: Client) -> str | None:
    asked = {"one_time_keys": {owner.user: {owner.device: USUAL}}}
    answer = wire.request("POST", f"{V3}/keys/claim", token=client.token, json=asked, timeout=30)
    if answer.status == 503:
        raise OSError("the server stops")
    assert answer.status == 200, answer
    given = answer.json["one_time_keys"].get(owner.user, {}).get(owner.device, {})
    return next(iter(given), None)


class Ledger:
    """What was given to whom, and how many claims were cut off."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.given: collections.Counter[str] = collections.Counter()
        self.cut_off = 0
        self.trouble: list[BaseException] = []


class Claimer(threading.Thread):
    """Claims one key after the other until there are none, or the connection breaks."""

    def __init__(self, client: Client, owner: Client, ledger: Ledger, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self.client, self.owner, self.ledger, self.done = client, owner, ledger, done
        self.wire = Wire(client.server.base_url, reconnect=False)

    def run(self) -> None:
        while True:
            # Looked at first: what was uploaded before `done` must be seen by the claim behind it.
            last = self.done.is_set()
            try:
                key = claim_once(self.wire, self.client, self.owner)
            except BROKEN:
                with self.ledger.lock:
                    self.ledger.cut_off += 1
                return
            except BaseException as trouble:
                self.ledger.trouble.append(trouble)
                return
            if key is not None:
                with self.ledger.lock:
                    self.ledger.given[key] += 1
            elif last:
                return


def claim_all(owner: Client, claimers: list[Client], ledger: Ledger, kills: int) -> None:
    """The owner uploads while all others claim; the server is killed so many times in between."""
    home = owner.server
    batches = [names(first, min(BATCH, KEYS - first)) for first in range(0, KEYS, BATCH)]
    kill_before = {len(batches) * (kill + 1) // (kills + 1) for kill in range(kills)}
    done = threading.Event()

    def start() -> list[Claimer]:
        threads = [Claimer(client, owner, ledger, done) for client in claimers]
        for thread in threads:
            thread.start()
        return threads

    threads = start()
    for number, batch in enumerate(batches):
        if number in kill_before:
            # In the midst of claims of what the batch before brought.
            home.kill9()
            for thread in threads:
                thread.join(40)
            home.start()
            # The owner cannot know whether its last upload came in, and does it again.
            upload(owner, batches[number - 1])
            threads = start()
        while upload(owner, batch) > 900:
            pass
    done.set()
    for thread in threads:
        thread.join(120)
    assert ledger.trouble == []


@pytest.mark.timeout(900)
def test_a_one_time_key_is_given_out_at_most_once_through_kill_9(make_server):
    home = make_server()
    owner = Client.register(home)
    claimers = [Client.register(home) for _ in range(CLAIMERS)]
    ledger = Ledger()
    claim_all(owner, claimers, ledger, kills=2)
    twice = [key for key, times in ledger.given.items() if times > 1]
    assert twice == [], "given out twice"
    lost = KEYS - len(ledger.given)
    assert 0 <= lost <= ledger.cut_off, "keys are gone that nobody claimed"
    # Nobody has them again, whatever is uploaded.
    assert upload(owner, names(0, min(KEYS, 200))) == 0
    print(f"{len(ledger.given)} keys given, {lost} lost with {ledger.cut_off} claims that were cut off")


def test_keys_are_given_out_in_the_order_of_their_upload(make_server):
    """MSC4225. Two algorithms do not mix; names say nothing about the order."""
    home = make_server()
    owner, other = Client.register(home), Client.register(home)
    batches = [names(first, 5) for first in (500, 300, 400, 0)]
    for batch in batches:
        upload(owner, batch)
    wire = Wire(home.base_url)
    for number, batch in enumerate(batches):
        given = [claim_once(wire, other, owner) for _ in batch]
        assert sorted(given) == batch, f"batch {number}"
        if number == 1:
            home.kill9()
            home.start()
            wire = Wire(home.base_url)
    assert claim_once(wire, other, owner) is None


def counts(client: Client) -> tuple[int, list[str]]:
    answer = client.sync(since=None)
    return answer["device_one_time_keys_count"][USUAL], answer["device_unused_fallback_key_types"]


def one_with_keys(home: Server) -> tuple[Client, Client]:
    owner, other = Client.register(home), Client.register(home)
    upload(owner, names(0, 4))
    fallback = {"fallback_keys": {f"{USUAL}:fall": {"key": "f" * 43, "fallback": True, "signatures": {}}}}
    owner.call("POST", f"{V3}/keys/upload", fallback)
    assert counts(owner) == (4, [USUAL])
    return owner, other


def check_restored(owner: Client, other: Client, token: str) -> None:
    """Nothing that the original gave out is given out again, and its tokens lie behind what comes now."""
    assert counts(owner) == (0, []), "clients must upload new keys"
    wire = Wire(other.server.base_url)
    assert claim_once(wire, other, owner) == f"{USUAL}:fall"
    upload(owner, names(0, 4))
    assert claim_once(wire, other, owner) == f"{USUAL}:fall"
    upload(owner, names(50, 1))
    assert claim_once(wire, other, owner) == f"{USUAL}:00000050"
    other.since = token
    room = other.create_room()
    other.text(room, "after")
    assert room in other.sync()["rooms"]["join"]


@pytest.mark.only_engine("embedded")
def test_a_restored_backup_gives_out_no_key_of_before(make_server):
    home = make_server()
    owner, other = one_with_keys(home)
    backup = home.dir / "backup"
    done = home.command("backup", str(backup))
    assert done.returncode == 0, done
    wire = Wire(home.base_url)
    given = {claim_once(wire, other, owner) for _ in range(3)}
    assert len(given) == 3
    for _ in range(20):
        room = other.create_room()
    token = other.sync()["next_batch"]
    home.terminate()
    shutil.rmtree(home.data_dir)
    shutil.copytree(backup, home.data_dir)
    home.start()
    check_restored(owner, other, token)
    # Once: what is uploaded now stays.
    upload(owner, names(60, 3))
    home.restart()
    assert counts(owner)[0] == 3
    assert room.startswith("!")


@pytest.mark.only_engine("postgres")
def test_a_restored_database_gives_out_no_key_of_before(make_server, cluster: Cluster):
    home = make_server()
    owner, other = one_with_keys(home)
    url = home.settings["store.url"]
    name = url.split("///")[1].split("?")[0]
    home.terminate()
    cluster.psql(f"create database {name}_copy template {name}")
    home.start()
    wire = Wire(home.base_url)
    given = {claim_once(wire, other, owner) for _ in range(3)}
    assert len(given) == 3
    token = other.sync()["next_batch"]
    home.terminate()
    home.settings["store.url"] = url.replace(name, f"{name}_copy", 1)
    home.config_path.write_text(home.config())
    done = home.command("restored")
    assert done.returncode == 0, done
    home.start()
    check_restored(owner, other, token)
