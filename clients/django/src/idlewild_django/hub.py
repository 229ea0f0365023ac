"""Sends operations to Idlewild's admin listener, over connections that are kept open.

An HTTP client belongs to one process, because a forked worker must not share its parent's
connections. An asynchronous client also belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import httpx
from django.core.exceptions import ImproperlyConfigured
from django.utils.asyncio import async_unsafe

from .attempts import RETRIED_STATUSES, Attempts
from .conf import SETTING, Config
from .errors import Rejected, Unauthorized, Unavailable
from .operations import Operation, Request

T = TypeVar("T")


class Hub:
    def __init__(self, config: Config) -> None:
        if not config.api_key:
            raise ImproperlyConfigured(
                f'{SETTING}["API_KEY"] is missing; `idlewild token api-key` prints one'
            )
        self._config = config
        # Reads the system's certificate authorities once, because that takes longer than a request.
        self._ssl = ssl.create_default_context()
        self._clients: dict[int, httpx.Client] = {}
        self._loops_pid = os.getpid()
        self._loops: dict[
            asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None]]
        ] = {}

    @async_unsafe("This waits for Idlewild. Use the asynchronous version, such as `asend_to_user`.")
    def perform(self, operation: Operation[T]) -> T:
        request, attempts = operation.request(), Attempts(self._config)
        while True:
            try:
                response = self._client().request(**_arguments(request, attempts))
            except httpx.TransportError as error:
                pause = attempts.pause_after_error(error)
            else:
                if response.status_code not in RETRIED_STATUSES:
                    return operation.result(_read(response))
                pause = attempts.pause_after_answer(response)
            time.sleep(pause)

    async def aperform(self, operation: Operation[T]) -> T:
        request, attempts = operation.request(), Attempts(self._config)
        while True:
            try:
                client = await self._async_client()
                response = await client.request(**_arguments(request, attempts))
            except httpx.TransportError as error:
                pause = attempts.pause_after_error(error)
            else:
                if response.status_code not in RETRIED_STATUSES:
                    return operation.result(_read(response))
                pause = attempts.pause_after_answer(response)
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Closes this process's connections. Those of event loops close with their loops."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

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

    async def _async_client(self) -> httpx.AsyncClient:
        if self._loops_pid != os.getpid():
            self._loops_pid, self._loops = os.getpid(), {}
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

    def _transport(self) -> dict[str, Any]:
        # An explicit transport, so that the client ignores proxies in the environment. They are for
        # external hosts, and the admin listener is internal.
        size = self._config.pool_size
        return {
            "uds": self._config.socket_path,
            "verify": self._ssl,
            "limits": httpx.Limits(max_connections=size, max_keepalive_connections=size),
        }

    def _defaults(self) -> dict[str, Any]:
        return {
            "base_url": self._config.base_url,
            "headers": {
                "Authorization": f"Bearer {self._config.api_key}",
                "Content-Type": "application/json",
                "User-Agent": "idlewild-django",
            },
        }


async def _close_with_the_loop(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    # `asyncio.run` and `async_to_sync` close a loop's unfinished generators before the loop ends.
    # There is no other sign of its end.
    async with client:
        yield


def _arguments(request: Request, attempts: Attempts) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "content": request.body,
        "timeout": attempts.timeout(),
    }


def _read(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.is_success and isinstance(answer, dict):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    code, message = (
        (str(error.get("code", "unknown")), str(error.get("message", "")))
        if isinstance(error, dict)
        else ("unknown", f"status {response.status_code} from {response.url}, not Idlewild's JSON")
    )
    if response.status_code in (401, 403):
        raise Unauthorized(code, message)
    if response.is_client_error:
        raise Rejected(code, message)
    raise Unavailable(f"status {response.status_code}: {message}")
