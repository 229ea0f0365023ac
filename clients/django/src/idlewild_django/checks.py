"""Checks for `manage.py check`: settings that would fail later or be less safe than they look.

A missing API key stops no command: `migrate` and `collectstatic` need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from .conf import SETTING, Config, config

# Idlewild refuses shorter secrets for HS256, HS384 and HS512.
MIN_SECRET_BYTES = 32

SINGLE_DEVICE = "idlewild_django.authentication.SingleDeviceJWTAuthentication"
PLAIN = "rest_framework_simplejwt.authentication.JWTAuthentication"
OBTAIN = "idlewild_django.serializers.SingleDeviceTokenObtainPairSerializer"
REFRESH = "idlewild_django.serializers.SingleDeviceTokenRefreshSerializer"


def register() -> None:
    checks.register(check_settings)
    checks.register(check_logins)
    checks.register(check_deployment, deploy=True)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    try:
        current = config()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="idlewild_django.E001")]
    found: list[checks.CheckMessage] = []
    if current.backend == "hub" and not current.api_key:
        found.append(
            checks.Warning(
                f'{SETTING}["API_KEY"] is missing, and so is the variable IDLEWILD_API_KEY.',
                hint="`idlewild token api-key` prints a key and the line for idlewild.toml.",
                id="idlewild_django.W002",
            )
        )
    given = getattr(settings, SETTING, {}).get("API_KEY") or ""
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


def check_deployment(**_: Any) -> list[checks.CheckMessage]:
    """Run by `check --deploy`."""
    try:
        is_memory = config().backend == "memory"
    except ImproperlyConfigured:
        return []  # reported by `check_settings`
    if not is_memory:
        return []
    return [
        checks.Error(
            f'{SETTING}["BACKEND"] is "memory", which sends nothing.',
            hint='It is for tests. Run Idlewild and set it to "hub".',
            id="idlewild_django.E010",
        )
    ]


def check_logins(**_: Any) -> list[checks.CheckMessage]:
    """Compares the serializers of the project's login views with its authentication."""
    if not find_spec("rest_framework_simplejwt") or not getattr(settings, "ROOT_URLCONF", ""):
        return []
    from rest_framework.settings import api_settings
    from rest_framework_simplejwt.authentication import JWTAuthentication
    from rest_framework_simplejwt.serializers import TokenObtainSerializer, TokenRefreshSerializer

    from .authentication import SingleDeviceJWTAuthentication
    from .serializers import (
        SingleDeviceTokenObtainPairSerializer,
        SingleDeviceTokenRefreshSerializer,
    )

    routed = list(_token_views(get_resolver().url_patterns))
    logins = [each for each in routed if issubclass(each[1], TokenObtainSerializer)]
    refreshes = [each for each in routed if issubclass(each[1], TokenRefreshSerializer)]
    # The stubs have the texts of the setting here, which REST framework has imported.
    classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    found: list[checks.CheckMessage] = []
    if any(issubclass(each, SingleDeviceJWTAuthentication) for each in classes):
        for view, serializer in logins:
            if not issubclass(serializer, SingleDeviceTokenObtainPairSerializer):
                found.append(_login_without_session(view, serializer))
        for view, serializer in refreshes:
            if not issubclass(serializer, SingleDeviceTokenRefreshSerializer):
                found.append(_refresh_without_session(view, serializer))
    elif any(issubclass(each, JWTAuthentication) for each in classes) and any(
        issubclass(serializer, SingleDeviceTokenObtainPairSerializer) for _, serializer in logins
    ):
        found.append(
            checks.Warning(
                "Users have one device each, because a login view uses "
                "SingleDeviceTokenObtainPairSerializer. REST_FRAMEWORK authenticates with a class "
                "that accepts tokens of ended sessions.",
                hint=f"Use {SINGLE_DEVICE}. If users may have several devices, include "
                "idlewild_django.stream_urls instead of idlewild_django.urls.",
                id="idlewild_django.W007",
            )
        )
    return found


def _login_without_session(view: type, serializer: type) -> checks.CheckMessage:
    return checks.Warning(
        f"{view.__name__} uses {serializer.__name__}, whose tokens have no claim "
        f'"{config().session_claim}". SingleDeviceJWTAuthentication refuses them with 401.',
        hint=f'Set SIMPLE_JWT["TOKEN_OBTAIN_SERIALIZER"] = "{OBTAIN}", or derive the serializer '
        f"from it. If users may have several devices, authenticate with {PLAIN}.",
        id="idlewild_django.W009",
    )


def _refresh_without_session(view: type, serializer: type) -> checks.CheckMessage:
    return checks.Warning(
        f"{view.__name__} uses {serializer.__name__}, which renews tokens of ended sessions. "
        "SingleDeviceJWTAuthentication refuses them with 401.",
        hint=f'Set SIMPLE_JWT["TOKEN_REFRESH_SERIALIZER"] = "{REFRESH}", or derive the serializer '
        "from it.",
        id="idlewild_django.W011",
    )


def _token_views(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[tuple[type, type]]:
    """SimpleJWT's views among the project's, with their serializers."""
    from rest_framework_simplejwt.views import TokenViewBase

    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _token_views(pattern.url_patterns)
            continue
        # Both Django and REST framework keep the class of a view there, and decorators copy it.
        view = getattr(pattern.callback, "view_class", None) or getattr(
            pattern.callback, "cls", None
        )
        if isinstance(view, type) and issubclass(view, TokenViewBase):
            # The view may be given a serializer where it is routed.
            options = getattr(pattern.callback, "view_initkwargs", None) or {}
            try:
                yield view, view(**options).get_serializer_class()
            except Exception:  # noqa: BLE001, S112 - a project's own method may need a request
                continue


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
    return found


def _is_short(algorithm: str, key: str) -> bool:
    return algorithm.startswith("HS") and len(key.encode()) < MIN_SECRET_BYTES


def _is_same_field(ours: str, theirs: str) -> bool:
    from django.contrib.auth import get_user_model

    primary = get_user_model()._meta.pk.name
    return ({"pk": primary}.get(ours, ours)) == ({"pk": primary}.get(theirs, theirs))
