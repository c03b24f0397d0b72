"""Fixtures: every test runs once per storage engine, on a server that the suite shares.

`--engine embedded|postgres|both` chooses (default both). A missing component is a skip on a
developer's machine and a failure with CI=true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import postgres
from harness.client import Client
from harness.component import missing
from harness.server import Borrowed, Server, borrowed

ENGINES = ("embedded", "postgres")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=[*ENGINES, "both"], default="both")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("engine")
        only = metafunc.definition.get_closest_marker("only_engine")
        engines = ["external"] if borrowed() else list(ENGINES) if chosen == "both" else [chosen]
        if only is not None and not borrowed():
            engines = [engine for engine in engines if engine in only.args]
        metafunc.parametrize("engine", engines, scope="session")


@pytest.fixture(autouse=True)
def _own_server(request: pytest.FixtureRequest) -> None:
    if borrowed() and request.node.get_closest_marker("own_server"):
        pytest.skip("needs a server of its own")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Server):
                report.sections.append(("server log", value.log_tail()))
    return report


@pytest.fixture(scope="session")
def cluster(engine: str) -> Iterator[postgres.Cluster | None]:
    if engine != "postgres":
        yield None
        return
    try:
        started = postgres.Cluster()
    except FileNotFoundError as error:
        missing(str(error))
        return
    yield started
    started.stop()


@pytest.fixture(scope="session")
def server(engine: str, cluster: postgres.Cluster | None) -> Iterator[Any]:
    """The server that the whole suite shares; a test may not stop it."""
    if engine == "external":
        yield Borrowed()
        return
    running = Server(engine, store_url=cluster.create_database() if cluster else None).start()
    yield running
    running.stop()


@pytest.fixture
def make_server(engine: str, cluster: postgres.Cluster | None) -> Iterator[Callable[..., Any]]:
    """Starts a server of a test's own; settings as keywords, `__` for the dot."""
    started: list[Any] = []

    def make(fixed_port: bool = True, **settings: Any) -> Any:
        if engine == "external":
            running: Any = Borrowed()
            if settings or not running.controllable:
                pytest.skip("needs a server of its own")
        else:
            url = cluster.create_database() if cluster else None
            dotted = {key.replace("__", "."): value for key, value in settings.items()}
            running = Server(engine, dotted, store_url=url, fixed_port=fixed_port)
            running.start()
        started.append(running)
        return running

    yield make
    for running in started:
        running.stop()


@pytest.fixture
def new_user(server: Any) -> Callable[..., Client]:
    """Makes users on the shared server."""
    return lambda **options: Client.register(server, **options)


@pytest.fixture
def alice(new_user: Callable[..., Client]) -> Client:
    return new_user()


@pytest.fixture
def bob(new_user: Callable[..., Client]) -> Client:
    return new_user()


@pytest.fixture
def carol(new_user: Callable[..., Client]) -> Client:
    return new_user()


@pytest.fixture
def nobody(server: Any) -> Client:
    """Someone without a session."""
    return Client(server)
