"""Ctrl-C under uvicorn, which waits for every response to be complete."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rest_framework_simplejwt.tokens import AccessToken

HERE = Path(__file__).resolve().parent
WAIT_S = 20


def wait_for(server: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    with socket.socket(socket.AF_UNIX) as probe:
        while probe.connect_ex(str(path)) != 0:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextmanager
def uvicorn(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    path = directory / "uvicorn.sock"
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "tests.asgi:application", "--uds", str(path)],
            cwd=HERE.parent,
            env={"PYTHONPATH": ":".join(sys.path)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(server, path)
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(
            transport=transport, timeout=WAIT_S, base_url="http://localhost/api/v1/auth/sse"
        ) as client:
            yield server, client
    finally:
        server.kill()
        server.wait()


def test_the_streams_end_at_ctrl_c(tmp_path):
    token = AccessToken()
    token["user_id"] = "1"
    with (
        uvicorn(tmp_path) as (server, client),
        client.stream("GET", "/notifications/", params={"token": str(token)}) as events,
        client.stream("GET", "/test/") as test,
    ):
        assert (events.status_code, test.status_code) == (200, 200)
        bodies = [events.iter_raw(), test.iter_raw()]
        for body in bodies:
            next(body)
        server.send_signal(signal.SIGINT)
        deadline = time.monotonic() + WAIT_S
        for body in bodies:
            # A broken connection would raise.
            for _ in body:
                assert time.monotonic() < deadline
        server.wait(WAIT_S)
