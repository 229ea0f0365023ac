"""One device a user: which session is current, in the database and in Idlewild.

The database decides. Idlewild is told after it, one change of a user at a time and in the order
of the database, and `registered` says whether it was; what was not told is told again at the next
token refresh, or by `manage.py idlewild_register_sessions`.
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

from .backends import backend
from .conf import config
from .errors import IdlewildError, Unavailable
from .models import DeviceSession
from .operations import LogOut, SetSession
from .users import user_id

logger = logging.getLogger("idlewild_django")

# A session that is overtaken while Idlewild is told of it means one more round. More logins than
# this in a row, each within one request's time, is no person.
MAX_ROUNDS = 5


def start_session(user: AbstractBaseUser) -> str:
    """A new session for a user who has logged in; from now on it is the only one.

    Where Idlewild cannot be told, the login goes on, unless `REQUIRE_SESSION_REGISTRATION`: then
    nothing is changed and the error is raised.
    """
    session_id = uuid.uuid4().hex
    if config().require_session_registration:
        _start_registered(user, session_id)
    else:
        _store(user, session_id)
        register_session(user)
    return session_id


def register_session(user: AbstractBaseUser) -> None:
    """Tells Idlewild of a user's current session if it was not told; logs where that fails."""

    def tell() -> None:
        try:
            tell_idlewild(user.pk)
        except IdlewildError as error:
            logger.error(  # noqa: TRY400 - the error says it all
                "session of user %s not registered, streams of older sessions go on: %s",
                user.pk,
                error,
            )

    # In an atomic block the session is not there for others yet, and may never be.
    transaction.on_commit(tell, using=router.db_for_write(DeviceSession), robust=True)


def is_current(user: AbstractBaseUser, session_id: object) -> bool:
    return bool(session_id) and _rows().filter(pk=user.pk, session_id=session_id).exists()


def end_session(
    user: str, message: str, reason: str, using: str | None = None
) -> Callable[[], str | None]:
    """Ends a user's session in the database; the function returned tells Idlewild.

    That does nothing if the user has logged in again meanwhile: the new session has already
    ended the old one.
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
    """Brings Idlewild to what the database says of a user, unless it was told (`again`: anyway).

    Returns the id of the event that was sent, if one was.
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
        # Overtaken, where rows cannot be locked; the newer one may have been told first.
        again = True
    raise Unavailable(f"user {pk}: {MAX_ROUNDS} logins while Idlewild was told of one")


def _tell(row: DeviceSession, log_out: LogOut | None) -> str:
    if row.session_id == "" and log_out is not None:
        return backend().perform(log_out)
    operation = SetSession(user_id(row.user), row.session_id, config().message("new_login"))
    return backend().perform(operation)


@contextmanager
def _one_at_a_time(pk: Any, using: str | None) -> Iterator[None]:
    """Holds a user's row, so that Idlewild hears of two logins in the order of the database.

    SQLite locks no rows, and a transaction would lock all of it while Idlewild answers.
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
        # Idlewild may have heard of the session that was not started.
        _rows().filter(pk=user.pk).update(registered=False)
        raise


def _store(user: AbstractBaseUser, session_id: str) -> None:
    values = {"session_id": session_id, "registered": False, "started_at": timezone.now()}
    DeviceSession.objects.update_or_create(user_id=user.pk, defaults=values)


def _rows(using: str | None = None) -> QuerySet[DeviceSession]:
    # The database that is written to: a replica may not know yet of a session that has begun.
    return DeviceSession.objects.using(using or router.db_for_write(DeviceSession))
