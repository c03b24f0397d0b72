"""The stage of every test here: five users with devices of both SDKs, on one server or on two, in one encrypted room."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from harness.client import PASSWORD, Client, fresh

from devices import Device, Sdk

MESSAGES = int(os.environ.get("ALTHING_TEST_ENCRYPTED", "30"))
CALM_S = float(os.environ.get("ALTHING_TEST_CALM", "120"))
# Messages of each device between which everybody waits for the others.
ROUND = 25


class Scene:
    """Users `a` to `e`; which SDK each has, and on which server each is, is the test's to say."""

    def __init__(self, servers: list[Any], sdks: dict[str, Sdk]) -> None:
        self.servers, self.sdks = servers, sdks
        self.accounts: dict[str, Client] = {}
        self.homes: dict[str, Any] = {}
        self.devices: dict[str, Device] = {}
        self.numbers: dict[str, int] = {}
        self.began = time.monotonic()

    def tell(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {what}", flush=True)

    # -- who is there ------------------------------------------------------------------------------

    async def user(self, name: str, sdk: str, server: int = 0) -> Device:
        """A new user with a first device, which makes the user's identity."""
        home = self.servers[server % len(self.servers)]
        self.accounts[name] = Client.register(home, fresh(name))
        self.homes[name] = home
        device = await self.device(name, sdk)
        assert await device.call("crossSign", password=PASSWORD) is True
        return device

    async def device(self, user: str, sdk: str) -> Device:
        """One device more of a user; `a` has `a1`, `a2`, … `sliding` is matrix-rust-sdk as Element X uses it."""
        self.numbers[user] = self.numbers.get(user, 0) + 1
        device = Device(self.sdks["rust" if sdk == "sliding" else sdk], f"{user}{self.numbers[user]}")
        self.devices[device.name] = device
        account, home = self.accounts[user].localpart, self.homes[user].base_url
        return await device.login(home, account, PASSWORD, sliding=sdk == "sliding")

    async def logout(self, device: Device) -> None:
        await device.call("logout")
        del self.devices[device.name]

    def of(self, *users: str) -> list[Device]:
        """All devices of these users that are logged in."""
        return [device for name, device in self.devices.items() if name[0] in users]

    def first(self, user: str) -> Device:
        """Of the devices that are logged in."""
        return self.of(user)[0]

    def id(self, user: str) -> str:
        return self.accounts[user].user

    # -- verification ------------------------------------------------------------------------------

    async def verify_in_room(self, asks: Device, accepts: Device) -> None:
        """By emoji, in a room of the two."""
        room = await asks.call("direct", user=accepts.user)
        await self.enter(accepts, room)
        for device in (asks, accepts):
            await device.call("waitMembers", roomId=room, users=[asks.user, accepts.user])
        await self.verify(asks, accepts, room)

    async def verify(self, asks: Device, accepts: Device, room: str | None = None) -> None:
        """By emoji, which are the same on both; from device to device, or in a room of the two."""
        flow = await asks.call("askVerification", user=accepts.user, device=accepts.id, roomId=room)
        await accepts.call("acceptVerification", user=asks.user, flow=flow)
        one, other = await asyncio.gather(
            asks.call("emoji", user=accepts.user, flow=flow, begins=True),
            accepts.call("emoji", user=asks.user, flow=flow, begins=False),
        )
        # The SDKs do not spell every name alike.
        assert [name.lower() for name in one] == [name.lower() for name in other] and len(one) == 7
        await asyncio.gather(asks.call("confirm", flow=flow), accepts.call("confirm", flow=flow))
        for me, them in ((asks, accepts), (accepts, asks)):
            await self.trusts(me, them)

    async def trusts(self, me: Device, them: Device) -> None:
        """Waits until a device holds the user of another, and that device, for verified."""
        end = time.monotonic() + CALM_S
        while True:
            trust = await me.call("trust", user=them.user, device=them.id)
            if trust == {"user": True, "device": True}:
                return
            assert time.monotonic() < end, f"{me.name} of {them.name}: {trust}"
            await asyncio.sleep(0.1)

    # -- the room ----------------------------------------------------------------------------------

    async def room(self, host: str, *guests: str, visibility: str = "shared") -> str:
        """An encrypted room that everybody named is in, and knows everybody to be in."""
        maker = self.first(host)
        room = await maker.call("createRoom", invite=[self.id(guest) for guest in guests], visibility=visibility)
        await asyncio.gather(*(self.enter(self.first(guest), room) for guest in guests))
        await self.all_know(room, host, *guests)
        return room

    async def enter(self, device: Device, room: str) -> None:
        """Accepts an invite."""
        await device.call("waitInvite", roomId=room)
        await device.call("join", roomId=room, via=[server.name for server in self.servers if hasattr(server, "name")])

    async def all_know(self, room: str, *users: str) -> None:
        members = [self.id(user) for user in users]
        waits = (device.call("waitMembers", roomId=room, users=members) for device in self.of(*users))
        troubles = [trouble for trouble in await asyncio.gather(*waits, return_exceptions=True) if trouble is not True]
        assert troubles == [], "\n".join(map(str, troubles))


class Conversation:
    """What was said in a room, and by whom it must be readable."""

    def __init__(self, scene: Scene, room: str) -> None:
        self.scene, self.room = scene, room
        self.said: dict[str, str] = {}
        # Readings of messages that were checked.
        self.read = 0

    async def say(self, device: Device, body: str) -> str:
        event = await device.text(self.room, body)
        self.said[event] = body
        return event

    async def greet(self, devices: list[Device]) -> None:
        """One after the other, each heard by all before the next speaks.

        Two devices that open a session to each other at once make the SDKs share a room key twice, from its first and
        from a later message on; matrix-sdk-crypto 0.18 keeps the later one should both come in one answer to /sync.
        """
        for device in devices:
            event = await self.say(device, f"{device.name} is here")
            await asyncio.gather(*(reader.wait_text(self.room, event) for reader in devices))

    async def talk(self, devices: list[Device], times: int, label: str) -> None:
        """All of them at once, each one message after the other; now and then, everybody hears the last of everybody.

        A Synapse in which more than a hundred events of a room wait drops most of them, and fetches them when somebody
        scrolls there.
        """

        async def speak(device: Device, numbers: range) -> str:
            last = ""
            for number in numbers:
                last = await self.say(device, f"{label} {device.name} {number}")
            return last

        for begin in range(0, times, ROUND):
            numbers = range(begin, min(begin + ROUND, times))
            lasts = await asyncio.gather(*(speak(device, numbers) for device in devices))
            await asyncio.gather(*(reader.wait_text(self.room, last) for reader in devices for last in lasts))

    async def unreadable(self, device: Device, events: dict[str, str]) -> dict[str, Any]:
        """What of these events a device does not show with the text that was sent."""
        read = await device.read(self.room)
        if self.scene.homes[device.name[0]].engine == "synapse":
            # Its /messages may pass over an event where the past begins behind what came by /sync.
            for event in events.keys() - read.keys():
                read[event] = {"body": await device.wait_text(self.room, event)}
        return {event: read.get(event) for event, body in events.items() if read.get(event, {}).get("body") != body}

    async def all_readable(self, devices: list[Device], events: dict[str, str] | None = None) -> None:
        """Everything said can be read by everyone, at the latest when it has been calm for a while."""
        wanted = self.said if events is None else events
        for device in devices:
            end = time.monotonic() + CALM_S
            while bad := await self.unreadable(device, wanted):
                assert time.monotonic() < end, f"{device.name} cannot read {len(bad)} of {len(wanted)}: {bad}"
                await asyncio.sleep(0.5)
            self.read += len(wanted)
        names = " ".join(device.name for device in devices)
        self.scene.tell(f"{len(wanted)} messages read by {names}: 0 undecryptable")

    async def late(self, devices: list[Device]) -> int:
        """How often a message was there before its key."""
        seen = await asyncio.gather(*(device.call("seen") for device in devices))
        return sum(one["failedAtFirst"] for one in seen)


async def run(servers: list[Any], sdks: list[Sdk], act: Any) -> Any:
    """Opens the SDKs, lets `act(scene)` play, and closes them."""
    opened = {}
    try:
        for sdk in sdks:
            opened["js" if sdk.name == "matrix-js-sdk" else "rust"] = await sdk.open()
        return await act(Scene(servers, opened))
    finally:
        for sdk in opened.values():
            await sdk.close()
