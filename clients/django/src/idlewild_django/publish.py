"""The functions that a project calls, each with an asynchronous version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction
from idlewild import IdlewildError, Presence, Rejected, Unauthorized
from idlewild.operations import AskPresence, Disconnect, Publish, SetSession

from . import events
from .after_commit import after_commit
from .backends import backend
from .conf import config
from .users import UserOrId, user_id

logger = logging.getLogger("idlewild_django")

T = TypeVar("T")


def send_to_user(
    user: UserOrId,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
    fail_silently: bool | None = None,
) -> str | None:
    """Sends an event to every stream of a user.

    Returns the event's id. Inside an atomic block, the event is sent after the commit and the
    result is None. A failure is then only logged, because the commit cannot be undone.

    With `fail_silently`, other failures are logged, too, and the result is None. A wrong call, such
    as one with too much data, still raises. The setting `FAIL_SILENTLY` is its default.
    """
    to = {"user": user_id(user)}
    return _send(to, data, event, id, persist, on_commit, using, fail_silently)


async def asend_to_user(
    user: UserOrId,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    fail_silently: bool | None = None,
) -> str | None:
    """Sends immediately, because Django has no transactions in asynchronous code."""
    return await _asend({"user": user_id(user)}, data, event, id, persist, fail_silently)


def send_to_users(
    users: Iterable[UserOrId],
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
    fail_silently: bool | None = None,
) -> list[str] | None:
    """Sends one event to many users, with one request for every 10,000 of them.

    If one of several requests fails, the same call with the same `id` sends to the rest.
    """
    with _guard(fail_silently):
        made = events.for_users(users, data, event, id, persist)
        return _now_or_on_commit(
            lambda: [backend().perform(Publish(each)) for each in made], on_commit, using
        )
    return None


async def asend_to_users(
    users: Iterable[UserOrId],
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    fail_silently: bool | None = None,
) -> list[str] | None:
    with _guard(fail_silently):
        made = events.for_users(users, data, event, id, persist)
        return [await backend().aperform(Publish(each)) for each in made]
    return None


def send_to_topic(
    topic: str,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
    fail_silently: bool | None = None,
) -> str | None:
    """Sends to the streams that receive this topic, which their token's `topics` decides."""
    return _send({"topic": topic}, data, event, id, persist, on_commit, using, fail_silently)


async def asend_to_topic(
    topic: str,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    fail_silently: bool | None = None,
) -> str | None:
    return await _asend({"topic": topic}, data, event, id, persist, fail_silently)


def broadcast(
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
    fail_silently: bool | None = None,
) -> str | None:
    """Sends to every stream."""
    return _send({"all": True}, data, event, id, persist, on_commit, using, fail_silently)


async def abroadcast(
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    fail_silently: bool | None = None,
) -> str | None:
    return await _asend({"all": True}, data, event, id, persist, fail_silently)


def force_logout(
    user: UserOrId,
    message: str | None = None,
    reason: str = "logout",
    *,
    on_commit: bool = True,
    using: str | None = None,
    fail_silently: bool | None = None,
) -> str | None:
    """Logs a user out everywhere: ends the session and all streams, and revokes the tokens.

    The user sees `message`; without one, the text of `reason` in `MESSAGES`. If Idlewild is
    unavailable, the session in the database has ended all the same.
    """
    # The models can be imported only once the apps are loaded.
    from .sessions import end_session

    shown = config().message(reason) if message is None else str(message)
    tell = end_session(user_id(user), shown, reason, using)
    with _guard(fail_silently):
        return _now_or_on_commit(tell, on_commit, using, sends_event=False)
    return None


def log_out_on_commit(user: UserOrId, reason: str, using: str) -> None:
    """As `force_logout`, for changes that must succeed even if Idlewild is unavailable."""
    from .sessions import end_session

    tell = end_session(user_id(user), config().message(reason), reason, using)
    after_commit(tell, using, sends_event=False)


async def aforce_logout(
    user: UserOrId,
    message: str | None = None,
    reason: str = "logout",
    *,
    fail_silently: bool | None = None,
) -> str | None:
    return await sync_to_async(force_logout)(
        user, message, reason, on_commit=False, fail_silently=fail_silently
    )


def set_session(user: UserOrId, session_id: str, message: str | None = None) -> str:
    """Makes a session the user's only one in Idlewild. This package's login views call it."""
    return backend().perform(_set_session(user, session_id, message))


async def aset_session(user: UserOrId, session_id: str, message: str | None = None) -> str:
    return await backend().aperform(_set_session(user, session_id, message))


def disconnect(user: UserOrId) -> int:
    """Ends a user's streams and returns their number. The clients may reconnect."""
    return backend().perform(Disconnect(user_id(user)))


async def adisconnect(user: UserOrId) -> int:
    return await backend().aperform(Disconnect(user_id(user)))


def presence(user: UserOrId) -> Presence:
    """Returns whether a user is online, and the user's streams."""
    return backend().perform(AskPresence(user_id(user)))


async def apresence(user: UserOrId) -> Presence:
    return await backend().aperform(AskPresence(user_id(user)))


def _set_session(user: UserOrId, session_id: str, message: str | None) -> SetSession:
    shown = config().message("new_login") if message is None else str(message)
    return SetSession(user_id(user), session_id, shown)


def _send(
    to: dict[str, Any],
    data: Any,
    name: str,
    id: str | None,
    persist: bool,
    on_commit: bool,
    using: str | None,
    fail_silently: bool | None,
) -> str | None:
    with _guard(fail_silently):
        made = events.new(to, data, name, id, persist)
        return _now_or_on_commit(lambda: backend().perform(Publish(made)), on_commit, using)
    return None


async def _asend(
    to: dict[str, Any],
    data: Any,
    name: str,
    id: str | None,
    persist: bool,
    fail_silently: bool | None,
) -> str | None:
    with _guard(fail_silently):
        made = events.new(to, data, name, id, persist)
        return await backend().aperform(Publish(made))
    return None


@contextmanager
def _guard(fail_silently: bool | None) -> Iterator[None]:
    """Logs errors instead of raising them, if the caller or the setting asks for it.

    A call that is wrong, such as one with too much data, raises in any case.
    """
    try:
        yield
    except IdlewildError as error:
        is_wrong_call = isinstance(error, Rejected) and not isinstance(error, Unauthorized)
        if is_wrong_call or not (
            config().fail_silently if fail_silently is None else fail_silently
        ):
            raise
        logger.exception("not sent")


def _now_or_on_commit(
    action: Callable[[], T], on_commit: bool, using: str | None, *, sends_event: bool = True
) -> T | None:
    if not (on_commit and transaction.get_connection(using).in_atomic_block):
        return action()
    # A wrong setting, such as a missing API key, is an error here and not only in the log.
    backend()
    after_commit(action, using, sends_event=sends_event)
    return None
