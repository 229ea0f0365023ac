from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import get_user_model

from .server import API_KEY, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.contrib.auth.models import User

PASSWORD = "correct horse"


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
    """One for all tests: each has users and topics of its own."""
    settings.IDLEWILD = {"URL": running_server.url, "API_KEY": API_KEY}
    return running_server


@pytest.fixture
def own_server(tmp_path: Path, settings) -> Iterator[Server]:
    """One for a test that stops it."""
    server = Server(tmp_path)
    settings.IDLEWILD = {"URL": server.url, "API_KEY": API_KEY}
    server.start()
    yield server
    server.stop()
