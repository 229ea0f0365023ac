"""A fake admin listener with scripted responses that records its requests."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    json: Any
    connection: int
    """The number of its connection."""


@dataclass
class Answer:
    status: int = 202
    json: Any = None
    """The body, or a function that returns it."""
    headers: tuple[tuple[str, str], ...] = ()
    is_dropped: bool = False
    """Close the connection instead of responding."""


class Admin:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: deque[Answer] = deque()
        self._connections: list[object] = []
        admin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                admin._connections.append(self)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: admin._answer(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def paths(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.asked]

    @contextmanager
    def running(self) -> Iterator[Admin]:
        thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.asked.append(
            Asked(
                handler.command,
                handler.path,
                dict(handler.headers),
                json.loads(body) if body else None,
                self._connections.index(handler),
            )
        )
        number = len(self.asked)
        answer = self.answers.popleft() if self.answers else Answer()
        said = answer.json() if callable(answer.json) else answer.json
        if answer.is_dropped:
            handler.close_connection = True
            return
        fallback = {"id": f"{number}-0", "ended": 0}
        payload = json.dumps(fallback if said is None else said).encode()
        handler.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Length", str(len(payload)))):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(payload)
