from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connections
from hub_support.admin import Admin
from hub_support.server import API_KEY, Server, free_port

from idlewild_django.backends import backend
from idlewild_django.local.backend import Local

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from django.contrib.auth.models import User
    from django.test import Client

T = TypeVar("T")

PASSWORD = "correct horse"


def log_in(client: Client, **more: str) -> dict[str, Any]:
    """Logs in as the guide's curl line does."""
    given = {"email": "ann@example.com", "password": PASSWORD} | more
    answer = client.post("/api/v1/auth/login/", given, content_type="application/json")
    assert answer.status_code == 200, answer.content
    return answer.json()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it in a new loop and closes the database connections of Django's thread."""

    async def main() -> T:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(main())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def user(db: None) -> User:
    return get_user_model().objects.create_user("ann", "ann@example.com", PASSWORD)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("idlewild"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running_server: Server, settings) -> Server:
    """One server for all tests; each test has its own users and topics."""
    settings.IDLEWILD = {"URL": running_server.url, "API_KEY": API_KEY}
    return running_server


@pytest.fixture
def own_server(tmp_path: Path, settings) -> Iterator[Server]:
    """A server for one test that stops it."""
    server = Server(tmp_path)
    settings.IDLEWILD = {"URL": server.url, "API_KEY": API_KEY}
    server.start()
    yield server
    server.stop()


@pytest.fixture
def admin(settings) -> Iterator[Admin]:
    """A fake Idlewild for tests that need certain responses, with short pauses between attempts."""
    with Admin().running() as admin:
        settings.IDLEWILD = {"URL": admin.url, "API_KEY": API_KEY, "TIMEOUT": 5, "TOTAL_TIMEOUT": 9}
        yield admin


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLEWILD_API_KEY", "IDLEWILD_ADMIN__API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idlewild.attempts.FIRST_PAUSE_S", 0.001)


@pytest.fixture
def away(settings) -> None:
    """Nothing listens on Idlewild's address."""
    settings.IDLEWILD = {"URL": f"http://127.0.0.1:{free_port()}", "API_KEY": API_KEY}


@pytest.fixture
def local(settings) -> Local:
    settings.IDLEWILD = {"BACKEND": "local"}
    made = backend()
    assert isinstance(made, Local)
    return made
