"""An event as it is published: target, name and data."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from .errors import Rejected

# The limits of one event (docs/publishing.md): this many users, and half a megabyte of their ids,
# which leaves room for the event's name and id.
MAX_USERS_PER_EVENT = 10_000
MAX_USERS_BYTES = 500_000


@dataclass(frozen=True, kw_only=True)
class Format:
    """How data becomes the text of an event, and how long that may be."""

    encoder: type[json.JSONEncoder] = json.JSONEncoder
    max_data_bytes: int = 64 * 1024

    def encode(self, value: Any) -> str:
        """Compact JSON."""
        return json.dumps(
            value,
            cls=self.encoder,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )


PLAIN = Format()


@dataclass(frozen=True)
class Event:
    """An encoded event within the size limit, with the id that makes a retry safe."""

    to: dict[str, Any]
    id: str
    data: str
    """The content of the `data:` lines."""
    body: bytes
    name: str
    persist: bool

    @classmethod
    def new(
        cls,
        to: dict[str, Any],
        data: Any,
        name: str = "message",
        id: str | None = None,
        persist: bool = True,
        format: Format = PLAIN,
    ) -> Self:
        is_text = isinstance(data, str)
        text = data if is_text else format.encode(data)
        size, limit = len(text.encode()), format.max_data_bytes
        if size > limit:
            raise Rejected(
                "too_large",
                f"data: {size} bytes, at most {limit} per event; "
                "send a reference that the client fetches",
            )
        own_id = id or str(uuid.uuid4())
        envelope = {"to": to, "event": name, "id": own_id, "persist": persist}
        data_json = PLAIN.encode(text) if is_text else text
        body = f'{PLAIN.encode(envelope)[:-1]},"data":{data_json}}}'.encode()
        return cls(to, own_id, text, body, name, persist)


def for_users(
    users: Iterable[str],
    data: Any,
    name: str = "message",
    id: str | None = None,
    persist: bool = True,
    format: Format = PLAIN,
) -> list[Event]:
    """Splits the users into as many events as the limits require."""
    parts = list(_parts(dict.fromkeys(users)))
    source = id or str(uuid.uuid4())
    # Each part has its own id, so that a log or an error can name one of them.
    return [
        Event.new(
            {"users": part},
            data,
            name,
            source if len(parts) == 1 else f"{source}:{number}",
            persist,
            format,
        )
        for number, part in enumerate(parts)
    ]


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for id in ids:
        id_size = len(PLAIN.encode(id).encode()) + 1
        if part and (len(part) == MAX_USERS_PER_EVENT or size + id_size > MAX_USERS_BYTES):
            yield part
            part, size = [], 0
        part.append(id)
        size += id_size
    if part:
        yield part
