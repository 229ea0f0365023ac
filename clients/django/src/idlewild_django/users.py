"""A user's id as it is in tokens and in Idlewild."""

from __future__ import annotations

import uuid
from typing import TypeAlias

from django.db.models import Model

from .conf import config

UserOrId: TypeAlias = Model | str | int | uuid.UUID


def user_id(user: UserOrId) -> str:
    if not has_id(user):
        raise ValueError(f"user: {user!r} has no id ({config().user_id_field}); save it first")
    return str(_value(user))


def has_id(user: UserOrId) -> bool:
    return _value(user) not in (None, "")


def _value(user: UserOrId) -> object:
    return getattr(user, config().user_id_field) if isinstance(user, Model) else user
