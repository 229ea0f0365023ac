"""The view that Idlewild asks who a browser is (`auth.session_auth_url`)."""

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
    """`200 {"user_id": "42"}`, 401 for nobody, 403 for a user who is not active.

    The session is read and never written: what would be sent back as a cookie stays in Idlewild
    and does not reach the browser.
    """
    user = _session_user(request) or _rest_framework_user(request)
    if hasattr(request, "session"):
        # SessionMiddleware leaves a request alone that has none.
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
    """Takes from a session what `get_user` would write with.

    It gives a session a new key after a change of SECRET_KEY. The browser would not hear of it
    and be logged out.
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
