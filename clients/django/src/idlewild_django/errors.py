"""The exceptions that a project can catch."""


class IdlewildError(Exception):
    """The base of the exceptions below."""


class Unavailable(IdlewildError):
    """Every attempt got no response, or one that asks for a retry."""


class Rejected(IdlewildError):
    """Idlewild refused the request, and would refuse the same request again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class Unauthorized(Rejected):
    """Idlewild does not accept the API key."""
