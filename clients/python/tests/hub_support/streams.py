"""A client for event streams that reads in a thread."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from dataclasses import dataclass
from typing import Any, Self

import httpx

WAIT_S = 10


@dataclass
class Frame:
    fields: dict[str, str]

    @property
    def name(self) -> str:
        return self.fields.get("event", "message")

    @property
    def id(self) -> str | None:
        return self.fields.get("id")

    @property
    def json(self) -> Any:
        return json.loads(self.fields["data"])


class StreamClient:
    """Opens a stream. `status` is available at once; the methods wait for events."""

    def __init__(self, url: str, **request: Any) -> None:
        self._client = httpx.Client(trust_env=False, timeout=WAIT_S)
        self._response = self._client.send(
            self._client.build_request("GET", url, **request), stream=True
        )
        self.status = self._response.status_code
        self.headers = self._response.headers
        self._frames: queue.Queue[Frame | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # After a close alone, the thread would keep waiting for bytes.
        connection = self._response.extensions["network_stream"].get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._response.close()
        self._client.close()

    def frame(self) -> Frame:
        """The next frame of any kind."""
        found = self._frames.get(timeout=WAIT_S)
        assert found is not None, "the stream ended"
        return found

    def event(self) -> Frame:
        """The next event. Skips heartbeats; every stream begins with one."""
        while True:
            found = self.frame()
            if "data" in found.fields and found.name != "heartbeat":
                return found

    def rest(self) -> list[Frame]:
        """The frames until the server ends the stream."""
        found = []
        while (each := self._frames.get(timeout=WAIT_S)) is not None:
            found.append(each)
        return found

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._response.iter_lines():
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = f"{fields[name]}\n{value}" if name in fields else value
                elif fields:
                    self._frames.put(Frame(fields))
                    fields = {}
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError):
            pass  # closed from this side
        finally:
            self._frames.put(None)
