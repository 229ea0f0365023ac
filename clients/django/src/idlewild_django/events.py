"""An event as it is published: target, name and data."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import Promise

from .conf import config
from .errors import Rejected
from .users import UserOrId, user_id

# The limits of one event (docs/publishing.md): this many users, and half a megabyte of their ids,
# which leaves room for the event's name and id.
MAX_USERS_PER_EVENT = 10_000
MAX_USERS_BYTES = 500_000


@dataclass(frozen=True)
class Event:
    """An encoded event within the size limit, with the id that makes a retry safe."""

    to: dict[str, Any]
    data: str
    """The content of the `data:` lines."""
    body: bytes
    name: str
    persist: bool

    @classmethod
    def new(cls, to: dict[str, Any], data: Any, name: str, id: str | None, persist: bool) -> Self:
        is_text = isinstance(data, str | Promise)
        text = str(data) if is_text else encode(data)
        size, limit = len(text.encode()), config().max_data_bytes
        if size > limit:
            raise Rejected(
                "too_large",
                f"data: {size} bytes, at most {limit} per event; "
                "send a reference that the client fetches",
            )
        envelope = {"to": to, "event": name, "id": id or str(uuid.uuid4()), "persist": persist}
        data_json = encode(text) if is_text else text
        body = f'{encode(envelope)[:-1]},"data":{data_json}}}'.encode()
        return cls(to, text, body, name, persist)


def encode(value: Any) -> str:
    """Compact JSON with the types of Django's encoder: dates, decimals, UUIDs, lazy texts."""
    return json.dumps(
        value,
        cls=DjangoJSONEncoder,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )


def for_users(
    users: Iterable[UserOrId], data: Any, name: str, id: str | None, persist: bool
) -> list[Event]:
    """Splits the users into as many events as the limits require."""
    parts = list(_parts(dict.fromkeys(user_id(user) for user in users)))
    source = id or str(uuid.uuid4())
    # Each part has its own id. With the same id, all but the first would count as duplicates.
    return [
        Event.new(
            {"users": part},
            data,
            name,
            source if len(parts) == 1 else f"{source}:{number}",
            persist,
        )
        for number, part in enumerate(parts)
    ]


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for id in ids:
        id_size = len(encode(id).encode()) + 1
        if part and (len(part) == MAX_USERS_PER_EVENT or size + id_size > MAX_USERS_BYTES):
            yield part
            part, size = [], 0
        part.append(id)
        size += id_size
    if part:
        yield part
