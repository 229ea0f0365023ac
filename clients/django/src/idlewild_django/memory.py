"""Keeps what is sent in a list and sends nothing. For tests; see `testing`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from idlewild import IdlewildError, Unavailable
from idlewild.events import Event
from idlewild.operations import AskPresence, Disconnect, LogOut, Operation, Publish, SetSession

from . import rules

T = TypeVar("T")


@dataclass(frozen=True)
class Sent:
    """An event, as clients would receive it."""

    to: dict[str, Any]
    """As in the API: `{"user": "42"}`, `{"users": […]}`, `{"topic": "a/b"}` or `{"all": True}`."""
    data: Any
    """A text, or what the JSON in the event contains: a date is a text here."""
    event: str
    """The name."""
    id: str
    """The publisher's own id: the one given, or a random one."""
    persist: bool

    @property
    def users(self) -> frozenset[str]:
        """The ids of the users it was sent to; empty for a topic and for all."""
        one = self.to.get("user")
        return frozenset(self.to.get("users", ())) if one is None else frozenset({one})

    @property
    def topic(self) -> str | None:
        return self.to.get("topic")

    @property
    def is_for_all(self) -> bool:
        return "all" in self.to


class Outbox(list[Sent]):
    """The events that were sent, in order, and everything else that Idlewild was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.log_outs: list[LogOut] = []
        self.sessions: list[SetSession] = []
        self.disconnects: list[str] = []
        """The users whose streams were ended."""
        self.online: set[str] = set()
        """The users whom `presence` reports as online. A test fills it."""
        self._error: IdlewildError | None = None
        self._ids: dict[object, str] = {}
        self._answers = 0

    def clear(self) -> None:
        super().clear()
        for each in (self.log_outs, self.sessions, self.disconnects):
            each.clear()
        self.online.clear()
        self._ids.clear()
        self._answers = 0

    @contextmanager
    def failing(self, error: IdlewildError | None = None) -> Iterator[None]:
        """Within the block, each function of the package fails, as if Idlewild were down."""
        self._error = error or Unavailable("the outbox is set to fail")
        try:
            yield
        finally:
            self._error = None

    def answer(self, operation: object) -> dict[str, Any]:
        if self._error is not None:
            raise self._error
        match operation:
            case Publish(event):
                return {"id": self._publish(event)}
            case SetSession():
                self.sessions.append(operation)
                return {"id": self._next_id()}
            case LogOut():
                self.log_outs.append(operation)
                return {"id": self._next_id()}
            case Disconnect(user):
                self.disconnects.append(user)
                return {"ended": int(user in self.online)}
            case AskPresence(user):
                streams = [_stream(user)] if user in self.online else []
                return {"user": user, "online": bool(streams), "connections": streams}
        raise TypeError(f"{operation!r} is not an operation")

    def _publish(self, event: Event) -> str:
        rules.check(event)
        to = event.to
        # Idlewild publishes an id once for each target; of a list, the set of users counts.
        target = frozenset(to["users"]) if "users" in to else tuple(to.items())
        known = self._ids.get((event.id, target))
        if known is not None:
            return known
        self._ids[event.id, target] = id = self._next_id()
        data = json.loads(event.body)["data"]
        self.append(Sent(to, data, event.name, event.id, event.persist))
        return id

    def _next_id(self) -> str:
        self._answers += 1
        return f"{self._answers}-0"


class Memory:
    """Fills `outbox`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def perform(self, operation: Operation[T]) -> T:
        with self._lock:
            return operation.result(outbox.answer(operation))

    async def aperform(self, operation: Operation[T]) -> T:
        return self.perform(operation)

    def close(self) -> None:
        pass


outbox = Outbox()


def _stream(user: str) -> dict[str, Any]:
    return {
        "id": f"memory-{user}",
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "transport": "sse",
        "remote": "127.0.0.1",
        "session": None,
        "topics": [],
    }
