"""The `topics` claim of a user's tokens, from the project's function (`TOPICS`)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .conf import SETTING, config

CLAIM = "topics"


def topics_of(user: Any) -> list[str] | None:
    """The patterns of a user's topics; None without a function, or if it returns None."""
    hook = config().topics
    if hook is None:
        return None
    found = (import_string(hook) if isinstance(hook, str) else hook)(user)
    if found is None:
        return None
    # A text is iterable, too, and would become one topic per letter.
    patterns = None if isinstance(found, str) else list(found)
    if patterns is None or not all(isinstance(each, str) for each in patterns):
        raise ImproperlyConfigured(
            f'{SETTING}["TOPICS"] returned {found!r}, expected a list of texts, '
            'such as ["orders/eu", "news/**"]'
        )
    return patterns
