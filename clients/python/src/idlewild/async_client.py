"""The asynchronous client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Self, TypeVar

import httpx

from .attempts import Attempts
from .base import Base, arguments, may_succeed_later, read
from .events import for_users
from .operations import AskPresence, Disconnect, LogOut, Operation, Presence, Publish, SetSession

T = TypeVar("T")


class AsyncClient(Base):
    """Publishes to Idlewild over connections that are kept open, one set for each event loop.

    The connections close with `aclose`, at the end of `async with`, or with the loop.
    """

    def _start(self) -> None:
        self._pid = os.getpid()
        self._loops: dict[
            asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None]]
        ] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections of the running loop."""
        held = self._loops.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held[1].aclose()

    async def send_to_user(
        self,
        user: str | int,
        data: Any,
        event: str = "message",
        *,
        id: str | None = None,
        persist: bool = True,
    ) -> str:
        """Sends an event to every stream of a user, and returns the event's id."""
        return await self.perform(self._event({"user": str(user)}, data, event, id, persist))

    async def send_to_users(
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
        return [await self.perform(Publish(each)) for each in made]

    async def send_to_topic(
        self,
        topic: str,
        data: Any,
        event: str = "message",
        *,
        id: str | None = None,
        persist: bool = True,
    ) -> str:
        """Sends to the streams that receive this topic, which their token's `topics` decides."""
        return await self.perform(self._event({"topic": topic}, data, event, id, persist))

    async def broadcast(
        self, data: Any, event: str = "message", *, id: str | None = None, persist: bool = True
    ) -> str:
        """Sends to every stream."""
        return await self.perform(self._event({"all": True}, data, event, id, persist))

    async def force_logout(
        self, user: str | int, message: str | None = None, reason: str | None = None
    ) -> str:
        """Ends all streams of a user and rejects the tokens issued until now."""
        return await self.perform(LogOut(str(user), message, reason))

    async def set_session(
        self, user: str | int, session_id: str, message: str | None = None
    ) -> str:
        """Makes a session the user's only one. The streams of other sessions end."""
        return await self.perform(SetSession(str(user), session_id, message))

    async def disconnect(self, user: str | int) -> int:
        """Ends a user's streams and returns their number. The clients may reconnect."""
        return await self.perform(Disconnect(str(user)))

    async def presence(self, user: str | int) -> Presence:
        """Returns whether a user is online, and the user's streams."""
        return await self.perform(AskPresence(str(user)))

    async def perform(self, operation: Operation[T]) -> T:
        """Sends a request, again if it may succeed then, and returns its result."""
        request, attempts = operation.request(), Attempts(self._settings)
        while True:
            try:
                client = await self._client()
                response = await client.request(**arguments(request, attempts))
            except httpx.TransportError as error:
                pause = attempts.pause_after_error(error)
            else:
                if not may_succeed_later(response):
                    return operation.result(read(response))
                pause = attempts.pause_after_answer(response)
            await asyncio.sleep(pause)

    async def _client(self) -> httpx.AsyncClient:
        if self._pid != os.getpid():
            self._pid, self._loops = os.getpid(), {}
        loop = asyncio.get_running_loop()
        held = self._loops.get(loop)
        if held is None:
            for ended in [each for each in list(self._loops) if each.is_closed()]:
                self._loops.pop(ended, None)
            transport = httpx.AsyncHTTPTransport(**self._transport())
            client = httpx.AsyncClient(transport=transport, **self._defaults())
            closing = _close_with_the_loop(client)
            held = self._loops[loop] = (client, closing)
            await anext(closing)
        return held[0]


async def _close_with_the_loop(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    # `asyncio.run` and `async_to_sync` close a loop's unfinished generators before the loop ends.
    # There is no other sign of its end.
    async with client:
        yield
