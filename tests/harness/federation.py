"""Servers that talk with each other: Althings, Synapses and scripted peers, on loopback TLS, over links that can be cut."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

from . import postgres
from .authority import Authority
from .client import V3, Client
from .links import Link, Network
from .server import Server, free_port
from .synapse import Synapse, must_be_there
from .wire import Response, Wire, path

T = TypeVar("T")
# Generous: two cores, several servers, and back-off after a cut.
WAIT_S = 60.0
_POLL_S = 0.05


def eventually(found: Callable[[], T], what: str = "it", wait_s: float = WAIT_S) -> T:
    """Asks until the answer is truthy, and gives it. A refusal or a failed assertion counts as `not yet`."""
    deadline = time.monotonic() + wait_s
    pause, last = _POLL_S, "nothing"
    while True:
        try:
            result = found()
            if result:
                return result
            last = repr(result)
        except (AssertionError, KeyError, OSError) as trouble:
            last = f"{type(trouble).__name__}: {trouble}"
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {wait_s} s; last: {last[:3000]}")
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


class Federation:
    """A closed world: one authority, one network, any number of servers."""

    def __init__(self, engine: str = "embedded", cluster: postgres.Cluster | None = None) -> None:
        self.engine, self.cluster = engine, cluster
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="althing-test-federation-"))
        self.authority = Authority(self.dir)
        self.network = Network()
        self.servers: list[Any] = []

    # -- servers -----------------------------------------------------------------------------------

    def althing(self, **settings: Any) -> Server:
        """An Althing, started; `link` is its place in the network, `name` its server name."""
        port, behind = free_port(), free_port()
        name = f"localhost:{port}"
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        server = Server(
            self.engine,
            {
                "server_name": name,
                "federation.enabled": True,
                "federation.trusted_ca": [str(self.authority.ca)],
                "federation.allow_private_ips": True,
                "federation.public_rooms": True,
                "media.max_upload": "20MiB",
                **dotted,
            },
            store_url=self.cluster.create_database() if self.cluster else None,
            fixed_port=True,
            listeners=[
                {
                    "bind": f"127.0.0.1:{behind}",
                    "resources": ["federation"],
                    "tls": {"certificate": str(self.authority.certificate), "private_key": str(self.authority.key)},
                }
            ],
        )
        return self._add(server, name, port, behind).start()

    def synapse(self, **settings: Any) -> Synapse:
        """A Synapse, started."""
        must_be_there()
        port = free_port()
        name = f"localhost:{port}"
        server = Synapse(name, self.authority, **settings)
        return self._add(server, name, port, server.federation_port).start()

    def subject(self) -> Any:
        """The server that is judged; `ALTHING_TEST_SUBJECT=synapse` proves the tests right instead."""
        return self.synapse() if os.environ.get("ALTHING_TEST_SUBJECT") == "synapse" else self.althing()

    def ask(self, server: Any, method: str, target: str, access_token: str) -> Response:
        """A request of the Server-Server API that needs no signature."""
        wire = Wire(f"https://{server.name}", tls=self.authority.trusting())
        return wire.request(method, target, query={"access_token": access_token})

    def _add(self, server: Any, name: str, port: int, behind: int) -> Any:
        server.name = name
        server.link = self.network.link(
            port, behind, lambda: server.process.pid if server.process is not None else None
        )
        self.servers.append(server)
        return server

    # -- the network -------------------------------------------------------------------------------

    def cut(self, server: Any) -> None:
        self.network.cut(server.link)

    def heal(self, server: Any) -> None:
        self.network.heal(server.link)

    def logs(self) -> list[tuple[str, str]]:
        return [(f"log of {server.name} ({server.engine})", server.log_tail()) for server in self.servers]

    def stop(self) -> None:
        troubles = []
        for server in self.servers:
            try:
                server.stop()
            except Exception as trouble:  # Every server is to be ended, and every trouble told.
                troubles.append(f"{server.name}: {trouble}")
        self.network.stop()
        if os.environ.get("ALTHING_TEST_KEEP") != "1":
            shutil.rmtree(self.dir, ignore_errors=True)
        assert troubles == [], "\n".join(troubles)


# -- what tests do on such servers -------------------------------------------------------------------


def host_of(client: Client) -> str:
    """The name of a user's server."""
    return client.server.name


def join(client: Client, room: str, *through: Any) -> str:
    """Joins a room (or alias) by way of other servers."""
    via = [server.name for server in through]
    return client.call("POST", path(f"{V3}/join", room), {}, query={"via": via, "server_name": via})["room_id"]


def state_ids(client: Client, room: str) -> dict[tuple[str, str], str]:
    """The current state as a user of the room reads it: (type, state key) to event id."""
    return {key: event["event_id"] for key, event in client.full_state(room).items()}


def same_state(room: str, *clients: Client) -> dict[tuple[str, str], str]:
    """Waits until the servers of these users hold the same state, and gives it."""

    def compared() -> dict[tuple[str, str], str]:
        first, *others = [state_ids(client, room) for client in clients]
        for client, other in zip(clients[1:], others, strict=True):
            differing = {k: (first.get(k), other.get(k)) for k in first.keys() | other.keys() if first.get(k) != other.get(k)}
            assert not differing, f"{host_of(clients[0])} and {host_of(client)} differ: {differing}"
        return first

    return eventually(compared, "the same state", WAIT_S * 2)


def bodies(client: Client, room: str, of: Client | None = None, page: int = 500) -> list[str]:
    """The texts of all messages in order, by one sender or everybody."""
    return [
        event["content"].get("body", "")
        for event in reversed(client.history(room, "b", page))
        if event["type"] == "m.room.message" and (of is None or event["sender"] == of.user)
    ]


def sees(client: Client, room: str, event: str) -> dict[str, Any]:
    """Waits until a user can read an event."""
    return eventually(lambda: client.event(room, event), f"{event} at {host_of(client)}")
