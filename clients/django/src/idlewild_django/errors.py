"""What can go wrong between a project and Idlewild, as types to catch."""


class IdlewildError(Exception):
    """Anything below."""


class Unavailable(IdlewildError):
    """No answer, or one that says to come again, on every attempt."""


class Rejected(IdlewildError):
    """Idlewild read the request and refused it; the same request will be refused again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class Unauthorized(Rejected):
    """The API key is not one of Idlewild's."""
