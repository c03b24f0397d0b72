"""The same while servers are killed and links are cut: when it is calm again, nothing is lost and everything is readable."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devices import Device, Sdk
from harness.client import V3, Client, fresh
from harness.federation import Federation, eventually
from harness.wire import Refused, path
from scene import MESSAGES, Conversation, Scene, run
from test_conversation import CAST, althing

pytestmark = [pytest.mark.own_server, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("ALTHING_TEST_SEED", random.randrange(1 << 32)))
# Seconds between two blows, and how long a link stays cut.
PAUSE_S, CUT_S = (1.0, 3.0), (0.5, 2.0)
# Where requests are small and many, blows fall faster, and there are to be so many of them.
QUICKLY_S = (0.3, 1.0)
BLOWS = int(os.environ.get("ALTHING_TEST_BLOWS", "8"))
# A device may have so many keys, and a few devices have them.
KEYS, KEYS_AT_ONCE, OWNERS = 1000, 250, 3
# Messages need a key of their own so often.
FEW = 3
USUAL = "signed_curve25519"


class Chaos:
    """Kills a server, or cuts its link, again and again, until it is told to stop; then everything runs and is joined."""

    def __init__(self, federation: Federation, pause_s: tuple[float, float] = PAUSE_S) -> None:
        self.federation, self.servers, self.pause_s = federation, list(federation.servers), pause_s
        self.dice = random.Random(SEED)
        self.kills = self.cuts = 0
        self._over = threading.Event()
        self._trouble: list[BaseException] = []
        self._thread = threading.Thread(target=self._rage)

    @property
    def blows(self) -> int:
        return self.kills + self.cuts

    def _rage(self) -> None:
        try:
            while not self._over.wait(self.dice.uniform(*self.pause_s)):
                server = self.dice.choice(self.servers)
                if len(self.servers) > 1 and self.dice.random() < 0.5:
                    self.federation.cut(server)
                    self._over.wait(self.dice.uniform(*CUT_S))
                    self.federation.heal(server)
                    self.cuts += 1
                else:
                    server.kill9()
                    server.start()
                    self.kills += 1
        except BaseException as trouble:  # Told where it is joined.
            self._trouble.append(trouble)
            self.kills += BLOWS

    def __enter__(self) -> Chaos:
        print(f"ALTHING_TEST_SEED={SEED}", flush=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._trouble:
            raise self._trouble[0]


@pytest.fixture(params=[1, 2], ids=["one server", "two servers"])
def world(request: pytest.FixtureRequest, federation: Federation) -> Iterator[Federation]:
    if request.param == 2 and federation.engine == "postgres":
        pytest.skip("once is enough")
    for _ in range(request.param):
        althing(federation)
    yield federation


def insisted(work: Callable[[], Any], wait_s: float = 60.0) -> Any:
    """Does it again until the server answers with success."""
    end = time.monotonic() + wait_s
    while True:
        # Refused, broken off, or answered by a server that is just going: it is asked again.
        with contextlib.suppress(OSError, http.client.HTTPException, Refused):
            return work()
        assert time.monotonic() < end, "the server did not come back"
        time.sleep(0.05)


# -- with the SDKs ---------------------------------------------------------------------------------------


async def talk_through(storm: Chaos, talk: Conversation, devices: list[Device]) -> None:
    """Everybody talks until the storm has done its worst; every few messages need a key of their own, which goes to every
    device of the others."""

    async def speak(device: Device) -> None:
        for number in itertools.takewhile(lambda n: n < MESSAGES or storm.blows < BLOWS, itertools.count()):
            await talk.say(device, f"in the storm {device.name} {number}")
            if number % FEW == FEW - 1:
                await device.call("rotate", roomId=talk.room)

    await asyncio.gather(*(speak(device) for device in devices))


def test_nothing_is_undecryptable_when_it_is_calm_again(world: Federation, sdks: list[Sdk]) -> None:
    async def act(scene: Scene) -> None:
        for name, (sdk, server) in CAST.items():
            await scene.user(name, sdk, server)
        await scene.device("a", "rust")
        await scene.device("b", "js")
        talk = Conversation(scene, await scene.room("a", *"bcde"))
        everyone = scene.of(*"abcde")
        await talk.greet(everyone)
        scene.tell("the storm begins")
        storm = Chaos(world)
        await asyncio.to_thread(storm.__enter__)
        try:
            await talk_through(storm, talk, everyone)
        finally:
            await asyncio.to_thread(storm.__exit__)
        scene.tell(f"it is over: {storm.kills} kills, {storm.cuts} cuts")
        await talk.talk(everyone, 1, "in the calm")
        await talk.all_readable(everyone)
        late = await talk.late(everyone)
        print(f"{len(talk.said)} messages, {talk.read} readings, 0 undecryptable, {late} before their key, "
              f"{storm.kills} kills, {storm.cuts} cuts")  # fmt: skip

    asyncio.run(run(world.servers, sdks, act))


# -- with clients that count -----------------------------------------------------------------------------


def one_time(numbers: range) -> dict[str, Any]:
    return {f"{USUAL}:{n:05}": {"key": f"key{n:05}", "signatures": {}} for n in numbers}


class Claimer(threading.Thread):
    """Claims one-time keys of devices until there are none left."""

    def __init__(self, client: Client, owners: list[Client]) -> None:
        super().__init__()
        self.client, self.owners, self.given = client, owners, list[tuple[str, str]]()

    def run(self) -> None:
        for owner in self.owners:
            self.claim(owner)

    def claim(self, owner: Client) -> None:
        asked = {"one_time_keys": {owner.user: {owner.device: USUAL}}}
        empty = 0
        while empty < 3:
            answer = insisted(lambda: self.client.call("POST", f"{V3}/keys/claim", asked))
            keys = answer["one_time_keys"].get(owner.user, {}).get(owner.device, {})
            self.given += [(owner.user, key) for key in keys]
            # A server that could not be asked is not one without keys.
            empty = 0 if keys or answer.get("failures") else empty + 1


class Sender(threading.Thread):
    """Sends numbered messages to a device, each until it is acknowledged, until the storm has done its worst."""

    def __init__(self, client: Client, to: Client, storm: Chaos) -> None:
        super().__init__()
        self.client, self.to, self.storm, self.sent = client, to, storm, list[str]()

    def run(self) -> None:
        for number in itertools.takewhile(lambda _: self.storm.blows < BLOWS, itertools.count()):
            note, txn = f"{self.client.localpart} {number}", fresh("t")
            body = {"messages": {self.to.user: {self.to.device: {"note": note}}}}
            insisted(lambda: self.client.call("PUT", path(f"{V3}/sendToDevice", "test.note", txn), body))
            self.sent.append(note)


class Receiver(threading.Thread):
    """Reads what comes, as a client does: what came with an answer is taken once, and then acknowledged."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client, self.notes, self.over = client, list[str](), threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            answer = insisted(lambda: self.client.sync(timeout=500))
            self.notes += [event["content"]["note"] for event in answer.get("to_device", {}).get("events", [])]


def test_no_message_is_lost_and_no_one_time_key_is_given_twice(world: Federation) -> None:
    home, away = world.servers[0], world.servers[-1]
    owners = [Client.register(home) for _ in range(OWNERS)]
    for owner in owners:
        for start in range(0, KEYS, KEYS_AT_ONCE):
            keys = {"one_time_keys": one_time(range(start, start + KEYS_AT_ONCE))}
            counts = owner.call("POST", f"{V3}/keys/upload", keys)["one_time_key_counts"]
        assert counts == {USUAL: KEYS}
    others = [Client.register(server) for server in (home, away, away)]
    claimers = [Claimer(client, owners) for client in others]
    storm = Chaos(world, QUICKLY_S)
    senders = [Sender(client, owner, storm) for client in others]
    receiver = Receiver(owner)
    with storm:
        for thread in (*claimers, *senders, receiver):
            thread.start()
        for thread in (*claimers, *senders):
            thread.join()
    expected = [note for sender in senders for note in sender.sent]
    try:
        eventually(lambda: set(expected) <= set(receiver.notes), "every message", 120)
    finally:
        receiver.over.set()
        receiver.join()
    given = [key for claimer in claimers for key in claimer.given]
    assert len(given) == len(set(given)), "a one-time key was given twice"
    assert sorted(receiver.notes) == sorted(expected)
    for sender in senders:
        mine = [note for note in receiver.notes if note in set(sender.sent)]
        assert mine == sender.sent, "out of order"
    print(f"{len(expected)} messages once each and in order, {len(given)} of {OWNERS * KEYS} keys given once each, "
          f"{storm.kills} kills, {storm.cuts} cuts")  # fmt: skip
