"""Identifies the client of a stream. The first credential present decides, as in Idlewild."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from ..conf import config
from ..topics import CLAIM
from ..users import user_id

logger = logging.getLogger("idlewild_django")


@dataclass(frozen=True)
class Identity:
    user: str
    session: str | None = None
    patterns: tuple[str, ...] = ()
    """The topics allowed by the token."""


def identify(request: HttpRequest) -> Identity | None:
    token = _bearer(request) or request.GET.get("token") or request.COOKIES.get(config().jwt_cookie)
    if token:
        return _of_token(token)
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return Identity(user_id(user))


def _bearer(request: HttpRequest) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _of_token(token: str) -> Identity | None:
    from rest_framework.exceptions import AuthenticationFailed
    from rest_framework_simplejwt.exceptions import TokenError
    from rest_framework_simplejwt.settings import api_settings as jwt_settings

    authentication = _authentication()()
    try:
        claims = authentication.get_validated_token(token.encode())
        authentication.get_user(claims)
    except (AuthenticationFailed, TokenError) as error:
        # As with Idlewild, the response gives no reason, and the log does.
        logger.info("stream refused: %s", _reason(error))
        return None
    # The id comes from the token: a stateless class has no row to read it from.
    user = str(claims[jwt_settings.USER_ID_CLAIM])
    return Identity(user, claims.get(config().session_claim), _texts(claims.get(CLAIM)))


def _reason(error: Exception) -> object:
    # SimpleJWT's error has a dictionary with the text and a code.
    detail = getattr(error, "detail", error)
    return detail.get("detail", detail) if isinstance(detail, dict) else detail


def _authentication() -> type[Any]:
    """The class that reads the project's tokens."""
    from rest_framework.settings import api_settings
    from rest_framework_simplejwt.authentication import JWTAuthentication

    if path := config().jwt_authentication:
        chosen: type[Any] = import_string(path)
        return chosen
    # The stubs have the texts of the setting here, which REST framework has imported.
    classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    return next(
        (each for each in classes if issubclass(each, JWTAuthentication)), JWTAuthentication
    )


def _texts(claim: object) -> tuple[str, ...]:
    values = claim if isinstance(claim, Iterable) and not isinstance(claim, str) else ()
    return tuple(value for value in values if isinstance(value, str))
