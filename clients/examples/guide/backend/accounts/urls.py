"""URLs under /api/v1/auth/."""

from django.urls import path

from .views import PasswordView

urlpatterns = [path("password/", PasswordView.as_view(), name="password")]
