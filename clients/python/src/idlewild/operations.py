"""The operations of the admin API: each builds its request and parses the response."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from .events import PLAIN, Event

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes | None = None


class Operation(Protocol[T_co]):
    def request(self) -> Request: ...
    def result(self, answer: dict[str, Any]) -> T_co: ...


@dataclass(frozen=True)
class Publish:
    event: Event

    def request(self) -> Request:
        return Request("POST", "/v1/events", self.event.body)

    def result(self, answer: dict[str, Any]) -> str:
        return str(answer["id"])


@dataclass(frozen=True)
class SetSession:
    user: str
    session_id: str
    message: str | None = None

    def request(self) -> Request:
        body = {"session_id": self.session_id, "message": self.message}
        return Request("PUT", f"{_path(self.user)}/session", _json(body))

    def result(self, answer: dict[str, Any]) -> str:
        return str(answer["id"])


@dataclass(frozen=True)
class LogOut:
    user: str
    message: str | None = None
    reason: str | None = None

    def request(self) -> Request:
        body = {"message": self.message, "reason": self.reason}
        return Request("POST", f"{_path(self.user)}/logout", _json(body))

    def result(self, answer: dict[str, Any]) -> str:
        return str(answer["id"])


@dataclass(frozen=True)
class Disconnect:
    user: str

    def request(self) -> Request:
        return Request("DELETE", f"{_path(self.user)}/connections")

    def result(self, answer: dict[str, Any]) -> int:
        return int(answer["ended"])


@dataclass(frozen=True)
class Connection:
    """One open stream of a user."""

    id: str
    since: datetime
    transport: str
    remote: str
    session: str | None
    topics: tuple[str, ...]


@dataclass(frozen=True)
class Presence:
    user: str
    online: bool
    connections: tuple[Connection, ...]


@dataclass(frozen=True)
class AskPresence:
    user: str

    def request(self) -> Request:
        return Request("GET", _path(self.user))

    def result(self, answer: dict[str, Any]) -> Presence:
        return Presence(
            user=answer["user"],
            online=answer["online"],
            connections=tuple(
                Connection(
                    id=each["id"],
                    since=datetime.fromisoformat(each["since"]),
                    transport=each["transport"],
                    remote=each["remote"],
                    session=each["session"],
                    topics=tuple(each["topics"]),
                )
                for each in answer["connections"]
            ),
        )


def _json(body: dict[str, str | None]) -> bytes:
    """Leaves out what is not given, so that Idlewild's default applies."""
    return PLAIN.encode({key: value for key, value in body.items() if value is not None}).encode()


def _path(user: str) -> str:
    return f"/v1/users/{quote(user, safe='')}"
