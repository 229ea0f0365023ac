"""A user's id as tokens and Idlewild write it."""

from __future__ import annotations

import uuid
from typing import TypeAlias

from django.db.models import Model

from .conf import config

UserOrId: TypeAlias = Model | str | int | uuid.UUID


def user_id(user: UserOrId) -> str:
    value = getattr(user, config().user_id_field) if isinstance(user, Model) else user
    if value is None or value == "":
        raise ValueError(f"user: {user!r} has no id; save it first")
    return str(value)
