"""The settings of a client, checked when they are made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8001"

# The variables that Idlewild reads its own key from. As there, the first one that is not blank
# counts, and whitespace around the key is ignored.
API_KEY_VARIABLES = ("IDLEWILD_ADMIN__API_KEY", "IDLEWILD_API_KEY")


class InvalidSetting(ValueError):
    """A setting with a wrong value."""

    def __init__(self, name: str, shown: str, expected: str) -> None:
        super().__init__(name, shown, expected)
        self.name = name
        self.shown = shown
        """The value as messages may show it."""
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.name}: {self.shown}, expected {self.expected}"


def api_key_of(environment: Mapping[str, str] | None = None) -> str:
    """The API key in the environment, or an empty text."""
    variables = os.environ if environment is None else environment
    keys = (variables.get(name, "").strip() for name in API_KEY_VARIABLES)
    return next((key for key in keys if key), "")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """README.md describes each of them."""

    url: str = DEFAULT_URL
    api_key: str = field(default="", repr=False)
    timeout: float = 2.0
    total_timeout: float = 5.0
    retries: int = 3
    pool_size: int = 10
    max_data_bytes: int = 64 * 1024
    user_agent: str = "idlewild-python"

    def __post_init__(self) -> None:
        _demand("url", repr(self.url), _is_url(self.url), URL_FORMS)
        # The value of a key is never shown, not even of one with the wrong type.
        _demand("api_key", "…", isinstance(self.api_key, str), "a string")
        # A key from a file or a shell often ends with a line feed. httpx would refuse the header
        # and quote it, including the key, in its exception.
        object.__setattr__(self, "api_key", self.api_key.strip())
        is_printable = self.api_key.isascii() and self.api_key.isprintable()
        _demand(
            "api_key", "…", is_printable, "printable ASCII, as `idlewild token api-key` prints it"
        )
        for name in ("timeout", "total_timeout"):
            value = getattr(self, name)
            _demand(name, repr(value), is_seconds(value), "seconds, more than 0")
        for name, least in (("retries", 0), ("pool_size", 1), ("max_data_bytes", 1)):
            value = getattr(self, name)
            expected = f"a whole number, at least {least}"
            _demand(name, repr(value), is_whole(value, least), expected)

    @property
    def socket_path(self) -> str | None:
        """The path of the admin listener's Unix socket, if `url` names one."""
        return self.url.removeprefix("unix:") if self.url.startswith("unix:") else None

    @property
    def base_url(self) -> str:
        return "http://localhost" if self.socket_path else self.url.rstrip("/")


URL_FORMS = '"http://host:port", "https://…" or "unix:/path/of/the.sock"'


def is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_url(url: object) -> bool:
    if not isinstance(url, str):
        return False
    if url.startswith("unix:"):
        return url.startswith("unix:/")
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _demand(name: str, shown: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InvalidSetting(name, shown, expected)
