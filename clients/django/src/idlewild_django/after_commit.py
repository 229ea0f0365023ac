"""What waits for the commit of a transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import transaction
from idlewild import IdlewildError

logger = logging.getLogger("idlewild_django")


class AfterCommit:
    """A class, so that `testing` finds what waits: a `TestCase` never commits."""

    def __init__(self, action: Callable[[], object], *, sends_event: bool) -> None:
        self._action = action
        self.sends_event = sends_event
        # Django keeps what `captureOnCommitCallbacks` has already called.
        self.is_waiting = True
        # Django logs a callback that raises by this name.
        self.__qualname__ = type(self).__qualname__

    def __call__(self) -> None:
        self.is_waiting = False
        try:
            self._action()
        except IdlewildError:
            logger.exception("not sent after the commit")


def after_commit(action: Callable[[], object], using: str | None, *, sends_event: bool) -> None:
    """Performs an action after the commit. A failure is only logged."""
    waiting = AfterCommit(action, sends_event=sends_event)
    transaction.on_commit(waiting, using=using, robust=True)
