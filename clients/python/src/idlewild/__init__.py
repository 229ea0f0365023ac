"""Publishes to Idlewild, a hub for Server-Sent Events and WebSocket.

| module | purpose |
|---|---|
| `client` | `Client`: the synchronous client |
| `async_client` | `AsyncClient`: the same methods as coroutines |
| `settings` | the settings of both, checked once |
| `operations` | each request of the admin API, and its response |
| `events` | an event, encoded within the size limits |
| `attempts` | when a request is retried |
| `errors` | the exceptions |
"""

from .async_client import AsyncClient
from .client import Client
from .errors import IdlewildError, Rejected, Unauthorized, Unavailable
from .operations import Connection, Presence

__all__ = [
    "AsyncClient",
    "Client",
    "Connection",
    "IdlewildError",
    "Presence",
    "Rejected",
    "Unauthorized",
    "Unavailable",
]
