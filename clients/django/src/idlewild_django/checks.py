"""Checks for `manage.py check`: settings that would fail later or be less safe than they look."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .conf import SETTING, Config, config

# Idlewild refuses shorter secrets for HS256, HS384 and HS512.
MIN_SECRET_BYTES = 32


def register() -> None:
    checks.register(check_settings)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    try:
        current = config()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="idlewild_django.E001")]
    found: list[checks.CheckMessage] = []
    if current.backend == "hub" and not current.api_key:
        found.append(
            checks.Error(
                f'{SETTING}["API_KEY"] is missing.',
                hint="`idlewild token api-key` prints a key and the line for idlewild.toml.",
                id="idlewild_django.E002",
            )
        )
    given = getattr(settings, SETTING, {}).get("API_KEY", "")
    if given != given.strip():
        found.append(
            checks.Warning(
                f'{SETTING}["API_KEY"] has white space around it, which is ignored.',
                hint="Strip a key that is read from a file: Path(…).read_text().strip()",
                id="idlewild_django.W008",
            )
        )
    if current.backend == "local" and not settings.DEBUG:
        found.append(
            checks.Warning(
                f'{SETTING}["BACKEND"] is "local", which serves streams from one process only, '
                "and DEBUG is False.",
                hint='Run Idlewild and set it to "hub".',
                id="idlewild_django.W003",
            )
        )
    if find_spec("rest_framework_simplejwt"):
        found += _check_simplejwt(current)
    return found


def _check_simplejwt(current: Config) -> list[checks.CheckMessage]:
    from rest_framework_simplejwt.settings import api_settings as jwt

    found: list[checks.CheckMessage] = []
    for name, default, key in (
        ("USER_ID_CLAIM", "user_id", "user_claim"),
        ("TOKEN_TYPE_CLAIM", "token_type", "token_type_claim"),
    ):
        value = getattr(jwt, name)
        if value != default:
            found.append(
                checks.Warning(
                    f'SIMPLE_JWT["{name}"] is {value!r}; Idlewild reads {default!r} by default.',
                    hint=f"Set auth.{key} in idlewild.toml to it, and silence this check.",
                    id="idlewild_django.W004",
                )
            )
    if current.backend == "hub" and _is_short(jwt.ALGORITHM, jwt.SIGNING_KEY):
        found.append(
            checks.Warning(
                f'SIMPLE_JWT["SIGNING_KEY"] is shorter than {MIN_SECRET_BYTES} bytes, which '
                "Idlewild refuses as auth.secret.",
                hint="`openssl rand -hex 32` makes one.",
                id="idlewild_django.W005",
            )
        )
    if not _is_same_field(current.user_id_field, jwt.USER_ID_FIELD):
        found.append(
            checks.Warning(
                f'SIMPLE_JWT["USER_ID_FIELD"] is {jwt.USER_ID_FIELD!r} and '
                f'{SETTING}["USER_ID_FIELD"] is {current.user_id_field!r}: events would go to '
                "other ids than those in the tokens.",
                hint="Set both to the same field.",
                id="idlewild_django.W006",
            )
        )
    plain = "rest_framework_simplejwt.authentication.JWTAuthentication"
    rest_framework = getattr(settings, "REST_FRAMEWORK", {})
    if plain in rest_framework.get("DEFAULT_AUTHENTICATION_CLASSES", ()):
        found.append(
            checks.Warning(
                f"REST_FRAMEWORK authenticates with {plain}, which accepts tokens of ended "
                "sessions.",
                hint="Use idlewild_django.authentication.SingleDeviceJWTAuthentication, or "
                "silence this check if users may have several devices.",
                id="idlewild_django.W007",
            )
        )
    return found


def _is_short(algorithm: str, key: str) -> bool:
    return algorithm.startswith("HS") and len(key.encode()) < MIN_SECRET_BYTES


def _is_same_field(ours: str, theirs: str) -> bool:
    from django.contrib.auth import get_user_model

    primary = get_user_model()._meta.pk.name
    return ({"pk": primary}.get(ours, ours)) == ({"pk": primary}.get(theirs, theirs))
