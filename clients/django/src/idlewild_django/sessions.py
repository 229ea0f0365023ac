"""One device per user: keeps the current session, in the database and in Idlewild.

The database is authoritative. Each change is then sent to Idlewild, one per user at a time and in
the order of the database; `registered` records that it was received. A change that was not is sent
again at the next token refresh, or by `manage.py idlewild_register_sessions`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from idlewild import IdlewildError, Unavailable
from idlewild.operations import LogOut, SetSession

from .backends import backend
from .conf import config
from .models import DeviceSession
from .users import user_id

logger = logging.getLogger("idlewild_django")

# A newer session that starts while one is being sent to Idlewild needs another round. No person
# logs in more often than this in a row, each time within the duration of one request.
MAX_ROUNDS = 5


def start_session(user: AbstractBaseUser) -> str:
    """Starts a session for a user who has logged in, and makes it the user's only one.

    If Idlewild is unavailable, the login still succeeds. With `REQUIRE_SESSION_REGISTRATION`,
    nothing is changed then, and the error is raised.
    """
    session_id = uuid.uuid4().hex
    if config().require_session_registration:
        _start_registered(user, session_id)
    else:
        _store(user, session_id)
        register_session(user)
    return session_id


def register_session(user: AbstractBaseUser) -> None:
    """Sends a user's current session to Idlewild, unless it has it; logs a failure."""

    def tell() -> None:
        try:
            tell_idlewild(user.pk)
        except IdlewildError as error:
            logger.error(  # noqa: TRY400 - the message suffices
                "session of user %s not registered, streams of older sessions stay open: %s",
                user.pk,
                error,
            )

    # In an atomic block, the session is not visible to others yet, and may be rolled back.
    transaction.on_commit(tell, using=router.db_for_write(DeviceSession), robust=True)


def is_current(user: AbstractBaseUser, session_id: object) -> bool:
    return bool(session_id) and _rows().filter(pk=user.pk, session_id=session_id).exists()


def end_session(
    user: str, message: str, reason: str, using: str | None = None
) -> Callable[[], str | None]:
    """Ends a user's session in the database. Returns a function that sends this to Idlewild.

    The function does nothing if the user has logged in again meanwhile, because the new session
    has already ended the old one.
    """
    rows = _rows(using).filter(**{f"user__{config().user_id_field}": user})
    pk = rows.values_list("pk", flat=True).first()
    operation = LogOut(user, message, reason)
    if pk is None:
        return lambda: backend().perform(operation)
    _rows(using).filter(pk=pk).update(session_id="", registered=False)
    return lambda: tell_idlewild(pk, operation, using=using)


def tell_idlewild(
    pk: Any, log_out: LogOut | None = None, *, again: bool = False, using: str | None = None
) -> str | None:
    """Sends a user's state in the database to Idlewild, unless Idlewild has it (`again`: always).

    Returns the id of the event, if one was sent.
    """
    event_id = None
    for _ in range(MAX_ROUNDS):
        with _one_at_a_time(pk, using):
            row = _rows(using).select_related("user").filter(pk=pk).first()
            if row is None or (row.registered and not again):
                return event_id
            if row.session_id == "" and log_out is None:
                log_out = LogOut(user_id(row.user), config().message("logout"), "logout")
            event_id = _tell(row, log_out)
            current = _rows(using).filter(pk=pk, session_id=row.session_id)
            if current.update(registered=True):
                return event_id
        # If rows cannot be locked, a newer session may have started, and may have been sent first.
        again = True
    raise Unavailable(f"user {pk}: overtaken by newer logins {MAX_ROUNDS} times in a row")


def _tell(row: DeviceSession, log_out: LogOut | None) -> str:
    if row.session_id == "" and log_out is not None:
        return backend().perform(log_out)
    operation = SetSession(user_id(row.user), row.session_id, config().message("new_login"))
    return backend().perform(operation)


@contextmanager
def _one_at_a_time(pk: Any, using: str | None) -> Iterator[None]:
    """Locks a user's row, so that Idlewild receives two logins in the order of the database.

    SQLite has no row locks; a transaction would lock the whole database during the request.
    """
    database = using or router.db_for_write(DeviceSession)
    if not transaction.get_connection(database).features.has_select_for_update:
        yield
        return
    with transaction.atomic(using=database):
        list(_rows(using).select_for_update().filter(pk=pk))
        yield


def _start_registered(user: AbstractBaseUser, session_id: str) -> None:
    try:
        with transaction.atomic(using=router.db_for_write(DeviceSession)):
            _store(user, session_id)
            tell_idlewild(user.pk)
    except IdlewildError:
        # Idlewild may have received the session that was not started.
        _rows().filter(pk=user.pk).update(registered=False)
        raise


def _store(user: AbstractBaseUser, session_id: str) -> None:
    values = {"session_id": session_id, "registered": False, "started_at": timezone.now()}
    DeviceSession.objects.update_or_create(user_id=user.pk, defaults=values)


def _rows(using: str | None = None) -> QuerySet[DeviceSession]:
    # Uses the database for writes, because a replica may not have a new session yet.
    return DeviceSession.objects.using(using or router.db_for_write(DeviceSession))
