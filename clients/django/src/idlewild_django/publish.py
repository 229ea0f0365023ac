"""The functions that a project calls, each with an asynchronous version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from .backends import backend
from .conf import config
from .errors import IdlewildError
from .events import Event, for_users
from .operations import AskPresence, Disconnect, Presence, Publish, SetSession
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
) -> str | None:
    """Sends an event to every stream of a user.

    Returns the event's id. Inside an atomic block, the event is sent after the commit and the
    result is None. A failure is then only logged, because the commit cannot be undone.
    """
    made = Event.new({"user": user_id(user)}, data, event, id, persist)
    return _send(made, on_commit, using)


async def asend_to_user(
    user: UserOrId,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
) -> str:
    """Sends immediately, because Django has no transactions in asynchronous code."""
    made = Event.new({"user": user_id(user)}, data, event, id, persist)
    return await backend().aperform(Publish(made))


def send_to_users(
    users: Iterable[UserOrId],
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
) -> list[str] | None:
    """Sends one event to many users, with one request for every 10,000 of them.

    If one of several requests fails, the same call with the same `id` sends to the rest.
    """
    made = for_users(users, data, event, id, persist)
    return _now_or_on_commit(
        lambda: [backend().perform(Publish(each)) for each in made], on_commit, using
    )


async def asend_to_users(
    users: Iterable[UserOrId],
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
) -> list[str]:
    made = for_users(users, data, event, id, persist)
    return [await backend().aperform(Publish(each)) for each in made]


def send_to_topic(
    topic: str,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
) -> str | None:
    return _send(Event.new({"topic": topic}, data, event, id, persist), on_commit, using)


async def asend_to_topic(
    topic: str,
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
) -> str:
    made = Event.new({"topic": topic}, data, event, id, persist)
    return await backend().aperform(Publish(made))


def broadcast(
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
    on_commit: bool = True,
    using: str | None = None,
) -> str | None:
    """Sends to all connected users."""
    return _send(Event.new({"all": True}, data, event, id, persist), on_commit, using)


async def abroadcast(
    data: Any,
    event: str = "message",
    *,
    id: str | None = None,
    persist: bool = True,
) -> str:
    return await backend().aperform(Publish(Event.new({"all": True}, data, event, id, persist)))


def force_logout(
    user: UserOrId,
    message: str | None = None,
    reason: str = "logout",
    *,
    on_commit: bool = True,
    using: str | None = None,
) -> str | None:
    """Logs a user out everywhere: ends the session and all streams, and revokes the tokens.

    The user sees `message`; without one, the text of `reason` in `MESSAGES`.
    """
    # The models can be imported only once the apps are loaded.
    from .sessions import end_session

    shown = config().message(reason) if message is None else str(message)
    tell = end_session(user_id(user), shown, reason, using)
    return _now_or_on_commit(tell, on_commit, using)


def log_out_on_commit(user: UserOrId, reason: str, using: str) -> None:
    """As `force_logout`, for changes that must succeed even if Idlewild is unavailable."""
    from .sessions import end_session

    tell = end_session(user_id(user), config().message(reason), reason, using)
    transaction.on_commit(lambda: _log_failure(tell), using=using, robust=True)


async def aforce_logout(
    user: UserOrId, message: str | None = None, reason: str = "logout"
) -> str | None:
    return await sync_to_async(force_logout)(user, message, reason, on_commit=False)


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


def _send(event: Event, on_commit: bool, using: str | None) -> str | None:
    return _now_or_on_commit(lambda: backend().perform(Publish(event)), on_commit, using)


def _now_or_on_commit(action: Callable[[], T], on_commit: bool, using: str | None) -> T | None:
    if not (on_commit and transaction.get_connection(using).in_atomic_block):
        return action()
    transaction.on_commit(lambda: _log_failure(action), using=using, robust=True)
    return None


def _log_failure(action: Callable[[], object]) -> None:
    try:
        action()
    except IdlewildError:
        logger.exception("not sent after the commit")
