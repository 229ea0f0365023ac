"""One open stream: any thread can add frames; a thread or an event loop reads them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .shutdown import calls_on_stop

HEARTBEAT = "event: heartbeat\ndata: {}\n\n"
RETRY = "retry: 3000\n\n"
# A comment, which clients ignore. Under WSGI, only a failed write shows that a client has left. A
# reloaded page leaves its last stream behind, which then counts for seconds and not for a whole
# heartbeat interval.
PROBE = ":\n\n"
PROBE_S = 2.0
# Frames queued for a slow client; one more disconnects it.
MAX_FRAMES = 1_000


@dataclass(frozen=True)
class Client:
    """The client that opened a stream."""

    user: str
    session: str | None = None
    topics: frozenset[str] = frozenset()
    remote: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Stream:
    def __init__(
        self, client: Client, heartbeat: float, on_close: Callable[[Stream], None]
    ) -> None:
        self.client = client
        self._heartbeat = heartbeat
        self._on_close = on_close
        self._changed = threading.Condition()
        self._frames = deque([RETRY])
        self._is_ending = False

    def deliver(self, frame: str) -> None:
        with self._changed:
            if self._is_ending:
                return
            if len(self._frames) < MAX_FRAMES:
                self._frames.append(frame)
            else:
                self._frames.clear()
                self._is_ending = True
            self._wake()

    def end(self) -> None:
        """Ends the stream after the frames delivered so far."""
        with self._changed:
            self._is_ending = True
            self._wake()

    def close(self) -> None:
        """Called by Django when the response is over, complete or not."""
        self._on_close(self)

    def _wake(self) -> None:
        self._changed.notify_all()


class ThreadStream(Stream):
    """For WSGI: waits in the request's thread."""

    def __iter__(self) -> Iterator[str]:
        quiet_since = time.monotonic()
        while True:
            heartbeat_in = quiet_since + self._heartbeat - time.monotonic()
            with self._changed:
                if not self._frames and not self._is_ending:
                    self._changed.wait(min(PROBE_S, heartbeat_in))
                if not self._frames and self._is_ending:
                    return
                frame = self._frames.popleft() if self._frames else None
            if frame is None and time.monotonic() < quiet_since + self._heartbeat:
                yield PROBE
            else:
                yield frame or HEARTBEAT
                quiet_since = time.monotonic()


class LoopStream(Stream):
    """For ASGI: waits in the event loop, without a thread."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        with calls_on_stop(self.end):
            while True:
                self._arrived.clear()
                with self._changed:
                    frame = self._frames.popleft() if self._frames else None
                    is_over = frame is None and self._is_ending
                if is_over:
                    return
                if frame is None:
                    try:
                        await asyncio.wait_for(self._arrived.wait(), self._heartbeat)
                    except TimeoutError:
                        frame = HEARTBEAT
                if frame is not None:
                    yield frame

    def _wake(self) -> None:
        if self._loop is not None:
            # The loop is closed if the server has stopped.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._arrived.set)
