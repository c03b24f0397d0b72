"""Servers of one test, and where the SDKs write."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import devices
from harness import postgres
from harness.federation import Federation


@pytest.fixture
def federation(engine: str, cluster: postgres.Cluster | None) -> Iterator[Federation]:
    if engine == "external":
        pytest.skip("needs servers of its own")
    world = Federation(engine, cluster)
    yield world
    world.stop()


@pytest.fixture
def sdks(tmp_path: pathlib.Path) -> list[devices.Sdk]:
    return [devices.js(tmp_path), devices.rust(tmp_path)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        arguments = getattr(item, "funcargs", {})
        for value in arguments.values():
            if isinstance(value, Federation):
                report.sections += value.logs()
        for sdk in arguments.get("sdks", []):
            if sdk.log.exists():
                report.sections.append((f"log of {sdk.name}", sdk.log.read_text(errors="replace")[-8000:]))
    return report
