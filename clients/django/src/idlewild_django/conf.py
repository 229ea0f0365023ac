"""The `IDLEWILD` setting, parsed into one validated value."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.translation import gettext_lazy as _

SETTING = "IDLEWILD"

REASONS = {
    "new_login": _("You have been logged in from another device."),
    "logout": _("You have been logged out."),
    "password_changed": _("Your password was changed. Please log in again."),
    "deactivated": _("Your account was deactivated."),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a project. README.md describes each key."""

    backend: Literal["hub", "local"] = "hub"
    url: str = "http://127.0.0.1:8001"
    api_key: str = field(default="", repr=False)
    timeout: float = 2.0
    total_timeout: float = 5.0
    retries: int = 3
    pool_size: int = 10
    max_data_bytes: int = 64 * 1024

    user_id_field: str = "pk"
    session_claim: str = "session_id"
    require_session_registration: bool = False
    messages: dict[str, Any] = field(default_factory=lambda: dict(REASONS))

    session_auth_classes: tuple[str, ...] = ()

    jwt_authentication: str = "idlewild_django.authentication.SingleDeviceJWTAuthentication"
    jwt_cookie: str = "access_token"
    cors_origin: str = "*"
    heartbeat: float = 30.0
    max_connections_per_user: int = 5

    @property
    def socket_path(self) -> str | None:
        """The path of the admin listener's Unix socket, if `url` names one."""
        return self.url.removeprefix("unix:") if self.url.startswith("unix:") else None

    @property
    def base_url(self) -> str:
        return "http://localhost" if self.socket_path else self.url.rstrip("/")

    def message(self, reason: str) -> str:
        """The message for a user who is logged out for `reason`."""
        return str(self.messages.get(reason, self.messages["logout"]))


def config() -> Config:
    """The project's configuration. It is read once, and again if a test overrides the setting."""
    return _read()


@lru_cache(maxsize=1)
def _read() -> Config:
    given = getattr(settings, SETTING, {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"{SETTING}: {type(given).__name__}, expected a dictionary")
    return parse(given)


def parse(given: dict[str, Any]) -> Config:
    known = {each.name.upper(): each.name for each in fields(Config)}
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise ImproperlyConfigured(
            f"{SETTING}: unknown key {', '.join(unknown)}; the known keys are {', '.join(known)}"
        )
    values = {known[key]: value for key, value in given.items()}
    if isinstance(values.get("messages"), dict):
        values["messages"] = REASONS | values["messages"]
    if isinstance(values.get("api_key"), str):
        # A key from a file or a shell often ends with a line feed. httpx would refuse the header
        # and quote it, including the key, in its exception.
        values["api_key"] = values["api_key"].strip()
    if isinstance(values.get("session_auth_classes"), list):
        values["session_auth_classes"] = tuple(values["session_auth_classes"])
    parsed = Config(**values)
    _check(parsed)
    return parsed


def _check(config: Config) -> None:
    _demand("BACKEND", config.backend, config.backend in ("hub", "local"), '"hub" or "local"')
    for key in (
        "URL",
        "API_KEY",
        "USER_ID_FIELD",
        "SESSION_CLAIM",
        "JWT_AUTHENTICATION",
        "JWT_COOKIE",
        "CORS_ORIGIN",
    ):
        value = getattr(config, key.lower())
        shown = "…" if key == "API_KEY" else value
        _demand(key, shown, isinstance(value, str) and (value or key == "API_KEY"), "a string")
    _demand(
        "API_KEY",
        "…",
        config.api_key.isascii() and config.api_key.isprintable(),
        "printable ASCII, as `idlewild token api-key` prints it",
    )
    _demand(
        "URL",
        config.url,
        _is_http(config.url) or (config.socket_path or "").startswith("/"),
        '"http://host:port", "https://…" or "unix:/path/of/the.sock"',
    )
    for key in ("TIMEOUT", "TOTAL_TIMEOUT", "HEARTBEAT"):
        value = getattr(config, key.lower())
        _demand(key, value, _is_number(value) and value > 0, "seconds, more than 0")
    for key, least in (
        ("RETRIES", 0),
        ("POOL_SIZE", 1),
        ("MAX_DATA_BYTES", 1),
        ("MAX_CONNECTIONS_PER_USER", 1),
    ):
        value = getattr(config, key.lower())
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        _demand(key, value, is_whole and value >= least, f"a whole number, at least {least}")
    _demand(
        "REQUIRE_SESSION_REGISTRATION",
        config.require_session_registration,
        isinstance(config.require_session_registration, bool),
        "True or False",
    )
    _demand(
        "MESSAGES",
        config.messages,
        isinstance(config.messages, dict) and all(isinstance(key, str) for key in config.messages),
        "a dictionary from reasons to texts",
    )
    _demand(
        "SESSION_AUTH_CLASSES",
        config.session_auth_classes,
        isinstance(config.session_auth_classes, tuple)
        and all(isinstance(path, str) for path in config.session_auth_classes),
        "a list of dotted paths",
    )


def _demand(key: str, value: object, holds: object, expected: str) -> None:
    if not holds:
        raise ImproperlyConfigured(f'{SETTING}["{key}"]: {value!r}, expected {expected}')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        _read.cache_clear()


setting_changed.connect(_forget, dispatch_uid="idlewild_django.conf")
