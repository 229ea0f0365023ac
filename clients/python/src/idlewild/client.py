"""The synchronous client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any, Self, TypeVar

import httpx

from .attempts import Attempts
from .base import Base, arguments, may_succeed_later, read
from .events import for_users
from .operations import AskPresence, Disconnect, LogOut, Operation, Presence, Publish, SetSession

T = TypeVar("T")


class Client(Base):
    """Publishes to Idlewild over connections that are kept open. Threads may share one.

    A forked process opens its own connections.
    """

    def _start(self) -> None:
        # By process id, because a forked worker must not share its parent's connections.
        self._clients: dict[int, httpx.Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes this process's connections."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def send_to_user(
        self,
        user: str | int,
        data: Any,
        event: str = "message",
        *,
        id: str | None = None,
        persist: bool = True,
    ) -> str:
        """Sends an event to every stream of a user, and returns the event's id."""
        return self.perform(self._event({"user": str(user)}, data, event, id, persist))

    def send_to_users(
        self,
        users: Iterable[str | int],
        data: Any,
        event: str = "message",
        *,
        id: str | None = None,
        persist: bool = True,
    ) -> list[str]:
        """Sends one event to many users, with one request for every 10,000 of them.

        If one of several requests fails, the same call with the same `id` sends to the rest.
        """
        made = for_users(map(str, users), data, event, id, persist, self._format)
        return [self.perform(Publish(each)) for each in made]

    def send_to_topic(
        self,
        topic: str,
        data: Any,
        event: str = "message",
        *,
        id: str | None = None,
        persist: bool = True,
    ) -> str:
        """Sends to the streams that receive this topic, which their token's `topics` decides."""
        return self.perform(self._event({"topic": topic}, data, event, id, persist))

    def broadcast(
        self, data: Any, event: str = "message", *, id: str | None = None, persist: bool = True
    ) -> str:
        """Sends to every stream."""
        return self.perform(self._event({"all": True}, data, event, id, persist))

    def force_logout(
        self, user: str | int, message: str | None = None, reason: str | None = None
    ) -> str:
        """Ends all streams of a user and rejects the tokens issued until now."""
        return self.perform(LogOut(str(user), message, reason))

    def set_session(self, user: str | int, session_id: str, message: str | None = None) -> str:
        """Makes a session the user's only one. The streams of other sessions end."""
        return self.perform(SetSession(str(user), session_id, message))

    def disconnect(self, user: str | int) -> int:
        """Ends a user's streams and returns their number. The clients may reconnect."""
        return self.perform(Disconnect(str(user)))

    def presence(self, user: str | int) -> Presence:
        """Returns whether a user is online, and the user's streams."""
        return self.perform(AskPresence(str(user)))

    def perform(self, operation: Operation[T]) -> T:
        """Sends a request, again if it may succeed then, and returns its result."""
        request, attempts = operation.request(), Attempts(self._settings)
        while True:
            try:
                response = self._client().request(**arguments(request, attempts))
            except httpx.TransportError as error:
                pause = attempts.pause_after_error(error)
            else:
                if not may_succeed_later(response):
                    return operation.result(read(response))
                pause = attempts.pause_after_answer(response)
            time.sleep(pause)

    def _client(self) -> httpx.Client:
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            # No lock: if another thread held it at a fork, it would stay locked in the child. If
            # two threads are first at the same time, one of the clients is dropped.
            transport = httpx.HTTPTransport(**self._transport())
            made = httpx.Client(transport=transport, **self._defaults())
            client = self._clients.setdefault(pid, made)
        return client
