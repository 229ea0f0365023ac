from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from hub_support.admin import Admin
from hub_support.server import API_KEY, Server
from idlewild import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; each test has its own users and topics."""
    server = Server(tmp_path_factory.mktemp("idlewild"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path) -> Iterator[Server]:
    """A server for one test that stops it."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def admin() -> Iterator[Admin]:
    """A fake Idlewild for tests that need certain responses."""
    with Admin().running() as admin:
        yield admin


@pytest.fixture
def name() -> str:
    """A user that no other test uses."""
    return uuid.uuid4().hex


# Long enough for a slow machine; no test waits that long.
TIMES = {"timeout": 5, "total_timeout": 9}


def client(admin: Admin, **settings) -> Client:
    return Client(admin.url, API_KEY, **TIMES | settings)


def async_client(admin: Admin, **settings) -> AsyncClient:
    return AsyncClient(admin.url, API_KEY, **TIMES | settings)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idlewild.attempts.FIRST_PAUSE_S", 0.001)


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLEWILD_API_KEY", "IDLEWILD_ADMIN__API_KEY"):
        monkeypatch.delenv(name, raising=False)
