"""DRF authentication with one session per user. Needs the extra `simplejwt`."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed
from rest_framework_simplejwt.tokens import Token

from .conf import config
from .sessions import is_current


class SingleDeviceJWTAuthentication(JWTAuthentication):
    """Refuses tokens of any session but the user's current one. Costs one additional query."""

    def get_user(self, validated_token: Token) -> Any:
        user = super().get_user(validated_token)
        session_id = session_of(validated_token)
        if not is_current(user, session_id):
            raise session_ended()
        return user


def session_of(token: Token) -> str:
    """The session that a token names. Raises `AuthenticationFailed` if it names none."""
    claim = config().session_claim
    session_id = token.get(claim)
    if not session_id:
        raise AuthenticationFailed(
            gettext(
                "This token has no claim “%(claim)s”. It is from before there was one device per "
                "user, or from a login whose serializer is not "
                "SingleDeviceTokenObtainPairSerializer."
            )
            % {"claim": claim},
            code="session_missing",
        )
    return str(session_id)


def session_ended() -> AuthenticationFailed:
    return AuthenticationFailed(
        gettext("This session has ended. Please log in again."), code="session_ended"
    )
