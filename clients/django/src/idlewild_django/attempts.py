"""When a request is tried again, and when it is given up. Knows no socket and no clock but its own.

Trying again is safe: an event carries its id, and the other requests set what they set.
"""

from __future__ import annotations

import random
import time

import httpx

from .conf import Config
from .errors import Unavailable

# The pauses double from the first to the longest, each drawn between nothing and itself, so that
# the processes of a project do not come back together.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

RETRIED_STATUSES = frozenset({502, 503, 504})
# Everything between the socket and the first byte of an answer. The two exceptions are mistakes
# of ours, which do not get better.
NOT_RETRIED = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Attempts:
    """The attempts of one request."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._deadline = time.monotonic() + config.total_timeout
        self._made = 0

    def timeout(self) -> float:
        """How long the next attempt may wait for each step of connecting, writing, reading."""
        return max(0.001, min(self._config.timeout, self._deadline - time.monotonic()))

    def pause_after_error(self, error: httpx.TransportError) -> float:
        """Seconds until the next attempt.

        Raises `Unavailable` where there is none.
        """
        if isinstance(error, httpx.LocalProtocolError):
            # Its text quotes the header that it refuses, and that may be the key.
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
        if self._made > self._config.retries or time.monotonic() + pause >= self._deadline:
            raise self._unavailable(cause) from error
        return pause

    def _unavailable(self, cause: str) -> Unavailable:
        times = "once" if self._made <= 1 else f"{self._made} times"
        return Unavailable(f"{self._config.url}: {cause}; tried {times}")


def retry_after_s(response: httpx.Response) -> float:
    """What `Retry-After` asks for in seconds; its other form, a date, is not used here."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
