"""The exceptions that a caller can catch. They can be pickled and copied."""

from __future__ import annotations


class IdlewildError(Exception):
    """The base of the exceptions below."""


class Unavailable(IdlewildError):
    """Every attempt got no response, or one that asks for a retry."""


class Rejected(IdlewildError):
    """Idlewild refused the request, and would refuse the same request again."""

    def __init__(self, code: str, message: str) -> None:
        # The same arguments as the class takes, because pickle and copy call the class with them.
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class Unauthorized(Rejected):
    """Idlewild does not accept the API key.

    After many wrong keys, the code is `too_many_requests` and not `unauthorized`.
    """
