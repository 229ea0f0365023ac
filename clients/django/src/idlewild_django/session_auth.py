"""The view that identifies a browser's user for Idlewild (`auth.session_auth_url`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.decorators import login_not_required
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from .conf import config
from .users import user_id


@require_GET
@login_not_required
@never_cache
def session_auth(request: HttpRequest) -> JsonResponse:
    """Returns `200 {"user_id": "42"}`, 401 without a user, 403 for an inactive user.

    The session is never written, because Idlewild would not pass a new cookie on to the browser.
    """
    user = _session_user(request) or _rest_framework_user(request)
    if hasattr(request, "session"):
        # SessionMiddleware ignores a request without a session.
        del request.session
    if user is None:
        return JsonResponse({"error": "Authentication required"}, status=401)
    if not user.is_active:
        return JsonResponse({"error": "User is not active"}, status=403)
    return JsonResponse({"user_id": user_id(user)})


def _session_user(request: HttpRequest) -> Any | None:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key:
        return None
    asked = HttpRequest()
    asked.session = _read_only(import_module(settings.SESSION_ENGINE).SessionStore(key))
    user = get_user(asked)
    return user if user.is_authenticated else None


def _read_only(session: SessionBase) -> SessionBase:
    """Disables the methods that `get_user` would write a session with.

    After a change of SECRET_KEY, it gives a session a new key. The browser would not receive that
    key and would be logged out.
    """
    for method in ("save", "delete"):
        setattr(session, method, lambda *_, **__: None)
    return session


def _rest_framework_user(request: HttpRequest) -> Any | None:
    paths = config().session_auth_classes
    if not paths:
        return None
    from rest_framework.exceptions import AuthenticationFailed
    from rest_framework.request import Request

    authenticators = [import_string(path)() for path in paths]
    try:
        user = Request(request, authenticators=authenticators).user
    except AuthenticationFailed:
        return None
    return user if user.is_authenticated else None
