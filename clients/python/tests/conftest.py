"""Servers and helpers that several suites share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry import lifecycle, pipeline

from .gateway import Gateway
from .proxy import FaultyProxy
from .stub import StubGateway

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine's reaches a test, and no capture and no client outlives one."""
    for name in list(os.environ):
        if name.startswith("TELEMETRY") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield
    pipeline.captures.clear()
    for lasting in list(lifecycle._living):
        lasting.close(0)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The real gateway, with everything behind it, on an embedded log."""
    with Gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[FaultyProxy]:
    """Stands between a client and the real gateway."""
    with FaultyProxy(gateway.port) as running:
        yield running


@pytest.fixture
def stub() -> Iterator[StubGateway]:
    """Answers as a gateway does, in this process."""
    with StubGateway() as running:
        yield running


@pytest.fixture
def python() -> str:
    """The interpreter that runs the tests, for processes of their own."""
    return sys.executable
