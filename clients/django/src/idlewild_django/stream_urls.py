"""The view for `auth.session_auth_url`, and the streams of `BACKEND = "local"`."""

from django.urls import path

from .local.views import sse_notifications, sse_test
from .session_auth import session_auth

app_name = "idlewild"

urlpatterns = [
    path("sse/notifications/", sse_notifications, name="sse_notifications"),
    path("sse/test/", sse_test, name="sse_test"),
    path("session-auth/", session_auth, name="session_auth"),
]
