"""Decides when a request is retried and when to give up. Does no I/O.

Retries are safe: an event carries its id, and the other requests are idempotent.
"""

from __future__ import annotations

import random
import time

import httpx

from .errors import Unavailable
from .settings import Settings

# The pauses double from the first to the longest. Each is drawn between zero and its maximum, so
# that the processes of an application do not retry at the same time.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

# 408: the request was too slow on its way. 429: a proxy limits the rate (`base.may_succeed_later`).
RETRIED_STATUSES = frozenset({408, 429, 502, 503, 504})
# Every other transport error is retried. These two are our own mistakes, so a retry cannot help.
NOT_RETRIED = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Attempts:
    """The attempts of one request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deadline = time.monotonic() + settings.total_timeout
        self._made = 0

    def timeout(self) -> float:
        """The timeout of the next attempt, for each of connecting, writing and reading."""
        return max(0.001, min(self._settings.timeout, self._deadline - time.monotonic()))

    def pause_after_error(self, error: httpx.TransportError) -> float:
        """Seconds until the next attempt.

        Raises `Unavailable` if there is none.
        """
        if isinstance(error, httpx.LocalProtocolError):
            # Its text quotes the refused header, which may contain the key.
            cause = f"{type(error).__name__}: the request cannot be written as HTTP"
            raise self._unavailable(cause) from None
        if isinstance(error, NOT_RETRIED):
            raise self._unavailable(repr(error)) from error
        return self._pause(f"{type(error).__name__}: {error}", 0.0, error)

    def pause_after_answer(self, response: httpx.Response) -> float:
        asked = retry_after_s(response)
        return self._pause(f"status {response.status_code}", asked, None)

    def _pause(self, cause: str, asked_s: float, error: Exception | None) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._made)
        self._made += 1
        pause = max(asked_s, random.uniform(0, longest))  # noqa: S311 - no secret
        if self._made > self._settings.retries or time.monotonic() + pause >= self._deadline:
            raise self._unavailable(cause) from error
        return pause

    def _unavailable(self, cause: str) -> Unavailable:
        times = "once" if self._made <= 1 else f"{self._made} times"
        return Unavailable(f"{self._settings.url}: {cause}; tried {times}")


def retry_after_s(response: httpx.Response) -> float:
    """The seconds in `Retry-After`; its other form, a date, is ignored."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
