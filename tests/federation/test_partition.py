"""Three servers of two makes in one room: cut off in turn, and healed, they hold the same events and the same state.

`ALTHING_TEST_APART` says how many events are sent during each cut (default 500).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import Client, fresh
from harness.federation import Federation, eventually, join, same_state
from harness.server import Server

pytestmark = [pytest.mark.own_server, pytest.mark.timeout(900)]

APART = int(os.environ.get("ALTHING_TEST_APART", "500"))
HEALED_S = 240.0


class Three:
    """One room, a user of each server in it, and what each has sent."""

    def __init__(self, federation: Federation, servers: list[Any]) -> None:
        self.federation, self.servers = federation, servers
        self.users = [Client.register(server) for server in servers]
        first, *others = self.users
        self.room = first.create_room(preset="public_chat", room_version="11")
        for user in others:
            join(user, self.room, servers[0])
        for user in others:
            eventually(lambda u=user: self.all_see_join(u), "the joins")
        levels = first.state(self.room, "m.room.power_levels")
        levels["users"] |= {user.user: 90 for user in others}
        self.sent: set[str] = {first.set_state(self.room, "m.room.power_levels", levels)}
        same_state(self.room, *self.users)
        # What was before its own join, Synapse fetches once and in the background; a server that does not answer then it
        # leaves alone for hours, and so that past.
        eventually(self.same_events, "the same past everywhere", HEALED_S)

    def all_see_join(self, user: Client) -> bool:
        return all(reader.membership(self.room, user.user) == "join" for reader in self.users)

    # -- traffic -----------------------------------------------------------------------------------

    def talk(self, user: Client, count: int) -> None:
        """Messages, and among them changes of state on which the sides disagree."""
        for number in range(count):
            if number % 50 == 0:
                self.sent.add(user.set_state(self.room, "m.room.topic", {"topic": fresh(user.localpart)}))
                self.sent.add(user.set_state(self.room, "test.own", {"at": number}, user.server.name))
            else:
                self.sent.add(user.text(self.room, fresh("message ")))

    def all_talk(self, counts: list[int]) -> None:
        troubles: list[BaseException] = []

        def run(user: Client, count: int) -> None:
            try:
                self.talk(user, count)
            except BaseException as trouble:
                troubles.append(trouble)

        threads = [
            threading.Thread(target=run, args=pair, daemon=True) for pair in zip(self.users, counts, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
        assert not troubles, troubles

    def part_and_talk(self, alone: int) -> None:
        """One is cut off, all talk: the others much, the lonely one a little."""
        self.federation.cut(self.servers[alone])
        self.all_talk([APART // 10 if at == alone else APART // 2 for at in range(3)])

    # -- what must hold ----------------------------------------------------------------------------

    def events(self, user: Client) -> list[dict[str, Any]]:
        return user.history(self.room, "b", 1000)

    def ids(self, user: Client) -> set[str]:
        return {event["event_id"] for event in self.events(user)}

    def nudge(self) -> None:
        """Each says something: what was given up for now is tried again."""
        for user in self.users:
            self.sent.add(user.text(self.room, fresh("here ")))

    def whole(self) -> None:
        """All have the same: every event, and the same state."""
        nudged = 0

        def complete() -> bool:
            nonlocal nudged
            missing = {user.server.name: len(self.sent - self.ids(user)) for user in self.users}
            if any(missing.values()):
                nudged += 1
                if nudged % 8 == 0:
                    self.nudge()
                raise AssertionError(f"of {len(self.sent)} sent are missing: {missing}")
            return True

        eventually(complete, "every event everywhere", HEALED_S)
        same_state(self.room, *self.users)
        # The same sets, not only what the tests know to have sent: nobody has more, nobody less. What was before a server came
        # it fetches when somebody looks, and shows at the latest to who looks again.
        eventually(self.same_events, "the same events everywhere", HEALED_S)

    def same_events(self) -> bool:
        first, *others = [{event["event_id"]: event for event in self.events(user)} for user in self.users]
        for user, seen in zip(self.users[1:], others, strict=True):
            more, less = seen.keys() - first.keys(), first.keys() - seen.keys()
            told = [(e["event_id"], e["type"], e["sender"]) for e in {**first, **seen}.values() if e["event_id"] in more | less]
            assert not told, f"{user.server.engine} {user.server.name} has {len(more)} more, {len(less)} less: {told[:20]}"
        return True


@pytest.fixture(scope="module")
def three(federation: Federation) -> Iterator[Three]:
    yield Three(federation, [federation.subject(), federation.subject(), federation.synapse()])


@pytest.mark.parametrize("alone", (0, 1, 2), ids=("althing that hosts", "althing that joined", "synapse"))
def test_who_was_cut_off_has_afterwards_what_all_have(three: Three, alone: int) -> None:
    three.part_and_talk(alone)
    three.federation.heal(three.servers[alone])
    three.nudge()
    three.whole()


def test_all_cut_off_from_all_heal_to_the_same(three: Three) -> None:
    for server in three.servers:
        three.federation.cut(server)
    three.all_talk([APART // 5] * 3)
    for server in three.servers:
        three.federation.heal(server)
    three.nudge()
    three.whole()


@pytest.mark.parametrize("killed", (0, 1), ids=("althing that hosts", "althing that joined"))
def test_kill_9_while_healing_loses_nothing(three: Three, killed: int) -> None:
    server = three.servers[killed]
    if not isinstance(server, Server) or os.environ.get("ALTHING_TEST_SUBJECT"):
        pytest.skip("kills an Althing")
    three.part_and_talk(1 - killed)
    three.federation.heal(three.servers[1 - killed])
    three.nudge()
    before = three.ids(three.users[killed])
    for _ in range(3):
        # In the middle of it: something has arrived since the last time, or all is there already.
        eventually(lambda: len(three.ids(three.users[killed])) > len(before) or three.sent <= before, "some of it")
        server.kill9()
        server.start()
        before = three.ids(three.users[killed])
    three.nudge()
    three.whole()
