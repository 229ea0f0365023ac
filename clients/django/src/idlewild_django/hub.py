"""Sends operations to Idlewild's admin listener with the clients of the package `idlewild`."""

from __future__ import annotations

from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.utils.asyncio import async_unsafe
from idlewild import AsyncClient, Client
from idlewild.operations import Operation

from .conf import SETTING, Config

T = TypeVar("T")


class Hub:
    def __init__(self, config: Config) -> None:
        if not config.api_key:
            raise ImproperlyConfigured(
                f'{SETTING}["API_KEY"] is missing, and so is the variable IDLEWILD_API_KEY; '
                "`idlewild token api-key` prints a key"
            )
        settings = config.client_settings() | {"user_agent": "idlewild-django"}
        self._client = Client(**settings)
        self._async_client = AsyncClient(**settings)

    @async_unsafe("This waits for Idlewild. Use the asynchronous version, such as `asend_to_user`.")
    def perform(self, operation: Operation[T]) -> T:
        return self._client.perform(operation)

    async def aperform(self, operation: Operation[T]) -> T:
        return await self._async_client.perform(operation)

    def close(self) -> None:
        """Closes this process's connections. Those of event loops close with their loops."""
        self._client.close()
