"""An event as it is published: for whom, under which name, with what data."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import Promise

from .conf import config
from .errors import Rejected
from .users import UserOrId, user_id

# What one event of Idlewild's admin listener takes (docs/publishing.md).
MAX_USERS_PER_EVENT = 10_000


@dataclass(frozen=True)
class Event:
    """Ready to be sent: encoded, within the size limit, and with the id that makes a retry safe."""

    to: dict[str, Any]
    data: str
    """What a client's `data:` lines hold."""
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
                f"data: {size} bytes, at most {limit} an event; "
                "send a reference that the client fetches",
            )
        envelope = {"to": to, "event": name, "id": id or str(uuid.uuid4()), "persist": persist}
        data_json = encode(text) if is_text else text
        body = f'{encode(envelope)[:-1]},"data":{data_json}}}'.encode()
        return cls(to, text, body, name, persist)


def encode(value: Any) -> str:
    """Compact JSON of what Django's encoder knows: dates, decimals, UUIDs, lazy texts."""
    return json.dumps(
        value,
        cls=DjangoJSONEncoder,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )


def for_users(
    users: list[UserOrId], data: Any, name: str, id: str | None, persist: bool
) -> list[Event]:
    """One event for as many users as one event may have, the next for the rest."""
    ids = list(dict.fromkeys(user_id(user) for user in users))
    source = id or str(uuid.uuid4())
    chunks = range(0, len(ids), MAX_USERS_PER_EVENT)
    # Each part has an id of its own, or all but the first would count as repeats of it.
    return [
        Event.new(
            {"users": ids[start : start + MAX_USERS_PER_EVENT]},
            data,
            name,
            source if len(chunks) == 1 else f"{source}:{part}",
            persist,
        )
        for part, start in enumerate(chunks)
    ]
