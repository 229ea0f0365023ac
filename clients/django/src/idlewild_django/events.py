"""Events with the types and ids of a Django project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import Promise
from idlewild import events
from idlewild.events import Event, Format

from .conf import config
from .users import UserOrId, user_id


def new(to: dict[str, Any], data: Any, name: str, id: str | None, persist: bool) -> Event:
    return Event.new(to, _evaluated(data), name, id, persist, _format())


def for_users(
    users: Iterable[UserOrId], data: Any, name: str, id: str | None, persist: bool
) -> list[Event]:
    """Splits the users into as many events as the limits require."""
    ids = (user_id(user) for user in users)
    return events.for_users(ids, _evaluated(data), name, id, persist, _format())


def _format() -> Format:
    # Dates, decimals, UUIDs and lazy texts.
    return Format(encoder=DjangoJSONEncoder, max_data_bytes=config().max_data_bytes)


def _evaluated(data: Any) -> Any:
    """A lazy text is a text, and is sent as one."""
    return str(data) if isinstance(data, Promise) else data
