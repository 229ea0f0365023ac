"""Notices that the server was asked to stop, so that streams end and do not hold it up.

An ASGI server such as uvicorn waits at Ctrl-C until every response is complete, and tells the
application only then. So this wraps the server's own signal handlers while streams are open.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_open: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], object]]] = {}


@contextmanager
def calls_on_stop(callback: Callable[[], object]) -> Iterator[None]:
    """Calls `callback` in the running loop if the process is asked to stop within the block."""
    key = object()
    _open[key] = (asyncio.get_running_loop(), callback)
    _wrap_handlers()
    try:
        yield
    finally:
        del _open[key]


class _Handler:
    """Ends the open streams, then does what the server's handler does."""

    def __init__(self, wrapped: Callable[[int, FrameType | None], Any]) -> None:
        self._wrapped = wrapped

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        for loop, callback in list(_open.values()):
            # Not here: the signal may have interrupted a stream that holds its lock.
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)
        return self._wrapped(number, frame)


def _wrap_handlers() -> None:
    # Only the main thread may set handlers. Servers that run elsewhere have none of their own.
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        # Without a function, the signal ends the process at once or is ignored.
        if callable(handler) and not isinstance(handler, _Handler):
            signal.signal(number, _Handler(handler))
