"""Servers of one module: made once, ended with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness import postgres
from harness.federation import Federation
from harness.peer import Peer
from hostile import Siege


@pytest.fixture(scope="module")
def federation(engine: str, cluster: postgres.Cluster | None) -> Iterator[Federation]:
    if engine == "external":
        pytest.skip("needs servers of its own")
    world = Federation(engine, cluster)
    yield world
    world.stop()


@pytest.fixture(scope="module")
def home(federation: Federation) -> Any:
    """The server under test."""
    return federation.subject()


@pytest.fixture
def peer(federation: Federation) -> Iterator[Peer]:
    """A scripted server."""
    made = Peer(federation.authority)
    yield made
    made.stop()


@pytest.fixture
def siege(federation: Federation, home: Any, peer: Peer) -> Siege:
    return Siege(federation, home, peer)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Federation):
                report.sections += value.logs()
    return report
