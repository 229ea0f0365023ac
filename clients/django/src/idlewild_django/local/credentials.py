"""Identifies the client of a stream. The first credential present decides, as in Idlewild."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.module_loading import import_string

from ..conf import config
from ..users import user_id


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

    authentication = import_string(config().jwt_authentication)()
    try:
        claims = authentication.get_validated_token(token.encode())
        user = authentication.get_user(claims)
    except (AuthenticationFailed, TokenError):
        return None
    return Identity(user_id(user), claims.get(config().session_claim), _texts(claims.get("topics")))


def _texts(claim: object) -> tuple[str, ...]:
    values = claim if isinstance(claim, Iterable) and not isinstance(claim, str) else ()
    return tuple(value for value in values if isinstance(value, str))
