"""`path("api/v1/auth/", include("idlewild_django.urls"))` creates the guide's URLs."""

from importlib.util import find_spec

from django.urls import path

from .local.views import sse_notifications, sse_test
from .session_auth import session_auth

app_name = "idlewild"

urlpatterns = [
    path("sse/notifications/", sse_notifications, name="sse_notifications"),
    path("sse/test/", sse_test, name="sse_test"),
    path("session-auth/", session_auth, name="session_auth"),
]

if find_spec("rest_framework_simplejwt"):
    from .views import LoginView, RefreshView

    urlpatterns += [
        path("login/", LoginView.as_view(), name="login"),
        path("refresh/", RefreshView.as_view(), name="refresh"),
    ]
