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
        if not is_current(user, validated_token.get(config().session_claim)):
            raise AuthenticationFailed(
                gettext("This session has ended. Please log in again."), code="session_ended"
            )
        return user
