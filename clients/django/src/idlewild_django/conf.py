"""The `IDLEWILD` setting, parsed into one validated value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.translation import gettext_lazy as _
from idlewild.settings import (
    DEFAULT_URL,
    InvalidSetting,
    Settings,
    api_key_of,
    is_seconds,
    is_whole,
)

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

    backend: Literal["hub", "local", "memory"] = "hub"
    url: str = DEFAULT_URL
    api_key: str = field(default_factory=api_key_of, repr=False)
    timeout: float = Settings.timeout
    total_timeout: float = Settings.total_timeout
    retries: int = Settings.retries
    pool_size: int = Settings.pool_size
    max_data_bytes: int = Settings.max_data_bytes
    fail_silently: bool = False

    user_id_field: str = "pk"
    session_claim: str = "session_id"
    require_session_registration: bool = False
    messages: dict[str, Any] = field(default_factory=lambda: dict(REASONS))
    topics: str | Callable[[Any], Any] | None = None

    session_auth_classes: tuple[str, ...] = ()

    jwt_authentication: str = ""
    jwt_cookie: str = "access_token"
    cors_origin: str = "*"
    heartbeat: float = 30.0
    max_connections_per_user: int = 5

    def client_settings(self) -> dict[str, Any]:
        """The arguments of the clients of `idlewild`."""
        return {
            "url": self.url,
            "api_key": self.api_key,
            "timeout": self.timeout,
            "total_timeout": self.total_timeout,
            "retries": self.retries,
            "pool_size": self.pool_size,
            "max_data_bytes": self.max_data_bytes,
        }

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
    if isinstance(values.get("api_key", ""), str | None):
        # Whitespace is ignored, and an empty key is none, as where Idlewild reads its own.
        values["api_key"] = (values.get("api_key") or "").strip() or api_key_of()
    if isinstance(values.get("session_auth_classes"), list):
        values["session_auth_classes"] = tuple(values["session_auth_classes"])
    parsed = Config(**values)
    _check(parsed)
    return parsed


def _check(config: Config) -> None:
    backends = ("hub", "local", "memory")
    _demand("BACKEND", config.backend, config.backend in backends, '"hub", "local" or "memory"')
    try:
        Settings(**config.client_settings())
    except InvalidSetting as error:
        raise _improper(error.name.upper(), error.shown, error.expected) from None
    for key in (
        "USER_ID_FIELD",
        "SESSION_CLAIM",
        "JWT_AUTHENTICATION",
        "JWT_COOKIE",
        "CORS_ORIGIN",
    ):
        value = getattr(config, key.lower())
        may_be_empty = key == "JWT_AUTHENTICATION"
        _demand(key, value, isinstance(value, str) and (value or may_be_empty), "a string")
    _demand("HEARTBEAT", config.heartbeat, is_seconds(config.heartbeat), "seconds, more than 0")
    most = config.max_connections_per_user
    _demand("MAX_CONNECTIONS_PER_USER", most, is_whole(most, 1), "a whole number, at least 1")
    for key in ("REQUIRE_SESSION_REGISTRATION", "FAIL_SILENTLY"):
        value = getattr(config, key.lower())
        _demand(key, value, isinstance(value, bool), "True or False")
    _demand(
        "TOPICS",
        config.topics,
        config.topics is None or isinstance(config.topics, str) or callable(config.topics),
        "a function of a user, or its dotted path",
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
        raise _improper(key, repr(value), expected)


def _improper(key: str, shown: str, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f'{SETTING}["{key}"]: {shown}, expected {expected}')


def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        _read.cache_clear()


setting_changed.connect(_forget, dispatch_uid="idlewild_django.conf")
