"""For a project's tests: what was sent is in `outbox`, like mail in `django.core.mail.outbox`.

With pytest, use the fixture `idlewild_outbox`; with `unittest`, use `OutboxMixin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections
from django.test import override_settings
from idlewild.operations import LogOut

from .after_commit import AfterCommit
from .conf import SETTING
from .memory import Outbox, Sent, outbox
from .users import UserOrId, user_id

__all__ = [
    "ANY",
    "Outbox",
    "OutboxMixin",
    "Sent",
    "assert_logged_out",
    "assert_not_sent",
    "assert_sent",
    "capture",
    "outbox",
]


class _Any:
    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()
"""Stands for any data. None does not, because None can be sent."""


@contextmanager
def capture() -> Iterator[Outbox]:
    """Uses the memory backend within the block, with an empty outbox."""
    given = getattr(settings, SETTING, {})
    outbox.clear()
    with override_settings(**{SETTING: {**given, "BACKEND": "memory"}}):
        yield outbox
    outbox.clear()


class OutboxMixin:
    """For a `TestCase`: each test has the memory backend and an empty `self.outbox`."""

    outbox: Outbox
    enterContext: Callable[..., Any]  # noqa: N815 - of `unittest.TestCase`

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.outbox = self.enterContext(capture())


def assert_sent(
    *,
    user: UserOrId | None = None,
    topic: str | None = None,
    all: bool = False,
    event: str | None = None,
    data: Any = ANY,
    count: int | None = None,
) -> Sent:
    """Fails unless an event was sent that fits everything given. Returns the last one.

    `user` is one of the event's users. With `count`, exactly that many events must fit.
    """
    found = _matching(user, topic, all, event, data)
    wanted = _shown(user, topic, all, event, data)
    if not found:
        raise AssertionError(f"no event was sent {wanted}\n{_state()}")
    if count is not None and len(found) != count:
        raise AssertionError(f"{len(found)} events were sent {wanted}, not {count}\n{_state()}")
    return found[-1]


def assert_not_sent(
    *,
    user: UserOrId | None = None,
    topic: str | None = None,
    all: bool = False,
    event: str | None = None,
    data: Any = ANY,
) -> None:
    """Fails if an event was sent that fits everything given; without arguments, if any was.

    Also fails if an event waits for a commit, because nobody knows yet whether it will be sent.
    """
    if any(each.sends_event for each in _after_commit()):
        raise AssertionError(f"an event may still be sent\n{_state()}")
    found = _matching(user, topic, all, event, data)
    if found:
        wanted = _shown(user, topic, all, event, data)
        raise AssertionError(f"{len(found)} events were sent {wanted}\n{_state()}")


def assert_logged_out(user: UserOrId, reason: str | None = None) -> LogOut:
    """Fails unless a user was logged out, for this reason if one is given."""
    id = user_id(user)
    for each in reversed(outbox.log_outs):
        if each.user == id and reason in (None, each.reason):
            return each
    why = "" if reason is None else f" for {reason!r}"
    raise AssertionError(f"user {id} was not logged out{why}; {outbox.log_outs}{_waiting()}")


def _matching(
    user: UserOrId | None, topic: str | None, all: bool, event: str | None, data: Any
) -> list[Sent]:
    id = None if user is None else user_id(user)
    return [
        each
        for each in outbox
        if (id is None or id in each.users)
        and topic in (None, each.topic)
        and (not all or each.is_for_all)
        and event in (None, each.event)
        and (data is ANY or data == each.data)
    ]


def _shown(
    user: UserOrId | None, topic: str | None, all: bool, event: str | None, data: Any
) -> str:
    parts = [
        "" if user is None else f"to user {user_id(user)}",
        "" if topic is None else f"to topic {topic}",
        "to all" if all else "",
        "" if event is None else f"named {event!r}",
        "" if data is ANY else f"with data {data!r}",
    ]
    return ", ".join(part for part in parts if part) or "at all"


def _state() -> str:
    sent = "".join(f"\n  {each}" for each in outbox) or " nothing"
    return f"sent:{sent}{_waiting()}"


def _waiting() -> str:
    """A hint for the usual mistake in a test within a transaction."""
    waiting = len(_after_commit())
    if not waiting:
        return ""
    return (
        f"\nwaiting for the commit of a transaction: {waiting}; run the code in "
        "captureOnCommitCallbacks(execute=True), with pytest in "
        "django_capture_on_commit_callbacks(execute=True)"
    )


def _after_commit() -> list[AfterCommit]:
    return [
        waiting
        for connection in connections.all(initialized_only=True)
        for _, waiting, *_ in connection.run_on_commit
        if isinstance(waiting, AfterCommit) and waiting.is_waiting
    ]
