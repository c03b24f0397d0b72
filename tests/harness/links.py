"""The network between servers: each is reached through a port that can be cut.

A server's name is `localhost:PORT`, and `PORT` is its link's: what comes in there is passed on, byte by byte, to the
port where the server listens for others. A server that is cut off is reached by nobody and reaches nobody; its clients
still reach it, since they come by another way.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import threading
from collections.abc import Callable, Coroutine
from typing import Any

_CHUNK = 1 << 16
_WAIT_S = 10.0


def _socket_of(port: int, at: int) -> str | None:
    """The kernel's number of the loopback connection from `port` to `at`, seen from the side of `port`."""
    local, remote = f"0100007F:{port:04X}", f"0100007F:{at:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[2] == remote:
            return fields[9]
    return None


def _holds(pid: int, number: str) -> bool:
    """Whether a process has that socket open."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as held:
            for one in held:
                try:
                    if os.readlink(one.path) == f"socket:[{number}]":
                        return True
                except OSError:
                    continue
    except OSError:
        pass
    return False


class Link:
    """One server's port to the world."""

    def __init__(self, network: Network, port: int, behind: int, pid: Callable[[], int | None]) -> None:
        self.network, self.port, self.behind, self.pid = network, port, behind, pid
        self.name = f"localhost:{port}"
        self.is_cut = False
        # Every connection that is passed on: who opened it, and how to end it.
        self._open: dict[asyncio.Task[Any], Link | None] = {}
        self._listening: asyncio.Server | None = None

    async def listen(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port, backlog=256)

    async def refuse(self) -> None:
        """Ends what is open and takes nothing more: the kernel refuses."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for task in list(self._open):
            task.cancel()

    async def drop(self, source: Link) -> None:
        """Ends what `source` has open here."""
        for task, opener in list(self._open.items()):
            if opener is source:
                task.cancel()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            source = self.network.opener(writer.get_extra_info("peername")[1], self.port)
            self._open[task] = source
            if source is not None and source.is_cut:
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self.behind)
            try:
                await _both(_copy(reader, outer), _copy(inner, writer))
            finally:
                outer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.pop(task, None)
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _both(*copies: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(copy) for copy in copies]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class Network:
    """All links, in one thread of their own."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    def link(self, port: int, behind: int, pid: Callable[[], int | None]) -> Link:
        made = Link(self, port, behind, pid)
        self.links.append(made)
        self._run(made.listen())
        return made

    def opener(self, port: int, at: int) -> Link | None:
        """Which server opened a connection; `None` is somebody else."""
        number = _socket_of(port, at)
        if number is None:
            return None
        for link in self.links:
            pid = link.pid()
            if pid is not None and _holds(pid, number):
                return link
        return None

    def cut(self, link: Link) -> None:
        """Nobody reaches it and it reaches nobody."""
        link.is_cut = True
        self._run(link.refuse())
        for other in self.links:
            if other is not link:
                self._run(other.drop(link))

    def heal(self, link: Link) -> None:
        link.is_cut = False
        self._run(link.listen())

    def remove(self, link: Link) -> None:
        self._run(link.refuse())
        self.links.remove(link)

    def stop(self) -> None:
        for link in list(self.links):
            self.remove(link)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)


def port_of(name: str) -> int:
    found = re.fullmatch(r".*:(\d+)", name)
    assert found, name
    return int(found[1])
