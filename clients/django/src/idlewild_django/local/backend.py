"""Performs operations on the streams of this process, as Idlewild does on its own."""

from __future__ import annotations

import itertools
import re
import threading
import time
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from idlewild.events import PLAIN
from idlewild.operations import (
    AskPresence,
    Disconnect,
    LogOut,
    Operation,
    Publish,
    SetSession,
)

from .. import rules
from ..conf import config
from .stream import Client, Stream

T = TypeVar("T")
S = TypeVar("S", bound=Stream)

LINE_END = re.compile(r"\r\n|\r|\n")


class TooManyConnections(Exception):
    pass


class Local:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Weak, because Django drops a response without closing it if the client leaves before it
        # starts.
        self._streams: WeakKeyDictionary[Stream, str] = WeakKeyDictionary()
        self._numbers = itertools.count(1)
        self._last_id = (0, 0)

    def open(self, kind: type[S], client: Client) -> S:
        stream = kind(client, config().heartbeat, self._close)
        with self._lock:
            count = sum(each.client.user == client.user for each in self._streams)
            if count >= config().max_connections_per_user:
                raise TooManyConnections
            self._streams[stream] = f"local-{next(self._numbers)}"
        return stream

    def perform(self, operation: Operation[T]) -> T:
        with self._lock:
            return operation.result(self._answer(operation))

    async def aperform(self, operation: Operation[T]) -> T:
        return self.perform(operation)

    def close(self) -> None:
        with self._lock:
            for stream in self._streams:
                stream.end()

    def _answer(self, operation: object) -> dict[str, Any]:
        match operation:
            case Publish(event):
                rules.check(event)
                id = self._next_id()
                text = frame(id if event.persist else None, event.name, event.data)
                for stream in self._streams:
                    if _is_for(event.to, stream.client):
                        stream.deliver(text)
                return {"id": id}
            case SetSession(user, session_id, message):
                return {"id": self._log_out(user, message, "new_login", session_id)}
            case LogOut(user, message, reason):
                return {"id": self._log_out(user, message, reason, None)}
            case Disconnect(user):
                ending = self._of(user)
                for stream in ending:
                    stream.end()
                return {"ended": len(ending)}
            case AskPresence(user):
                return self._presence(user)
        raise TypeError(f"{operation!r} is not an operation")

    def _log_out(self, user: str, message: str | None, reason: str | None, keep: str | None) -> str:
        id = self._next_id()
        data = {"type": "FORCE_LOGOUT", "data": {"message": message, "reason": reason}}
        text = frame(id, "message", PLAIN.encode(data))
        for stream in self._of(user):
            if keep is None or stream.client.session != keep:
                stream.deliver(text)
                stream.end()
        return id

    def _presence(self, user: str) -> dict[str, Any]:
        connections = [
            {
                "id": self._streams[stream],
                "since": stream.client.since.isoformat(timespec="seconds"),
                "transport": "sse",
                "remote": stream.client.remote,
                "session": stream.client.session,
                "topics": sorted(stream.client.topics),
            }
            for stream in self._of(user)
        ]
        return {"user": user, "online": bool(connections), "connections": connections}

    def _of(self, user: str) -> list[Stream]:
        return [stream for stream in self._streams if stream.client.user == user]

    def _close(self, stream: Stream) -> None:
        with self._lock:
            self._streams.pop(stream, None)

    def _next_id(self) -> str:
        now_ms, (last_ms, rank) = time.time_ns() // 1_000_000, self._last_id
        self._last_id = (now_ms, 0) if now_ms > last_ms else (last_ms, rank + 1)
        return "{}-{}".format(*self._last_id)


def frame(id: str | None, name: str, data: str) -> str:
    head = f"id: {id}\n" if id else ""
    lines = "".join(f"data: {line}\n" for line in LINE_END.split(data))
    return f"{head}event: {name}\n{lines}\n"


def _is_for(to: dict[str, Any], client: Client) -> bool:
    return (
        "all" in to
        or to.get("user") == client.user
        or client.user in to.get("users", ())
        or to.get("topic") in client.topics
    )
