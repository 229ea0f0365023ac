"""SimpleJWT's login and refresh with the claims that Idlewild reads. Needs the extra `simplejwt`.

The `Topics…` serializers add the claim `topics`, the `SingleDevice…` serializers a session as well.
"""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext_lazy as _
from idlewild import IdlewildError
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework_simplejwt.serializers import (
    TokenObtainPairSerializer,
    TokenRefreshSerializer,
)
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from .authentication import session_ended, session_of
from .conf import config
from .models import DeviceSession
from .sessions import register_session, start_session
from .topics import CLAIM, topics_of

logger = logging.getLogger("idlewild_django")


class SessionNotRegistered(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("Logging in is not possible at the moment. Please try again.")
    default_code = "session_not_registered"
    wait = 5  # seconds; DRF sends this as Retry-After


class TopicsTokenObtainPairSerializer(TokenObtainPairSerializer):
    """Adds the topics of the function `TOPICS`."""

    @classmethod
    def get_token(cls, user: Any) -> Token:
        token = super().get_token(user)
        topics = topics_of(user)
        if topics is not None:
            token[CLAIM] = topics
        return token


class TopicsTokenRefreshSerializer(TokenRefreshSerializer):
    """Asks the function `TOPICS` again, because a user's topics may have changed."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        has_function = config().topics is not None
        # First, because SimpleJWT may blacklist the refresh token, and the client would have lost
        # it if the function failed after that.
        topics = self._topics(attrs) if has_function else None
        data: dict[str, Any] = super().validate(attrs)
        if not has_function:
            return data
        access = self.token_class.access_token_class(data["access"])
        access.payload.pop(CLAIM, None)
        if topics is not None:
            access[CLAIM] = topics
        data["access"] = str(access)
        return data

    def _topics(self, attrs: dict[str, Any]) -> list[str] | None:
        user_id = self.token_class(attrs["refresh"]).get(api_settings.USER_ID_CLAIM)
        users = get_user_model()._default_manager
        user = users.filter(**{api_settings.USER_ID_FIELD: user_id}).first()
        # SimpleJWT then refuses an unknown or inactive user.
        is_refused = user is None or not api_settings.USER_AUTHENTICATION_RULE(user)
        return None if is_refused else topics_of(user)


class SingleDeviceTokenObtainPairSerializer(TopicsTokenObtainPairSerializer):
    """Starts a session and ends the user's other sessions.

    If the user model logs in with a field other than the address, `email` is accepted as well, if
    only one user has that address.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._email_field: str = get_user_model().get_email_field_name()
        if self._email_field not in self.fields:
            self.fields[self.username_field].required = False
            self.fields[self._email_field] = serializers.EmailField(write_only=True, required=False)

    @classmethod
    def get_token(cls, user: Any) -> Token:
        # Before the session, which ends the others: the function `TOPICS` may fail.
        token = super().get_token(user)
        try:
            session_id = start_session(user)
        except IdlewildError as error:
            logger.exception("login of user %s refused", user.pk)
            raise SessionNotRegistered from error
        token[config().session_claim] = session_id
        return token

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.username_field not in attrs:
            attrs[self.username_field] = self._username(attrs.pop(self._email_field, None))
        data: dict[str, Any] = super().validate(attrs)
        return data | {"user": self.user_data(self.user)}

    def user_data(self, user: Any) -> dict[str, Any]:
        """The user's data in the response."""
        return {"id": user.pk, "email": getattr(user, user.get_email_field_name(), "")}

    def _username(self, email: str | None) -> str:
        if not email:
            required = serializers.Field.default_error_messages["required"]
            raise serializers.ValidationError({self.username_field: required})
        names = get_user_model()._default_manager.filter(**{f"{self._email_field}__iexact": email})
        found = list(names.values_list(self.username_field, flat=True)[:2])
        # An unknown address is tried as an unknown name, so that the refusal takes as long.
        return str(found[0]) if len(found) == 1 else email


class SingleDeviceTokenRefreshSerializer(TopicsTokenRefreshSerializer):
    """Refuses a session that is not current, and registers a current one that Idlewild missed."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        refresh = self.token_class(attrs["refresh"])
        session_id = session_of(refresh)
        user_key = f"user__{api_settings.USER_ID_FIELD}"
        row = (
            DeviceSession.objects.select_related("user")
            .filter(**{user_key: refresh.get(api_settings.USER_ID_CLAIM)})
            .first()
        )
        if row is None or row.session_id != session_id:
            raise session_ended()
        data: dict[str, Any] = super().validate(attrs)
        register_session(row.user)
        return data
