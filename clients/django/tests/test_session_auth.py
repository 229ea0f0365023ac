"""The view that identifies a browser's user for Idlewild."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from .conftest import bearer, log_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/session-auth/"


def test_the_urls_include_the_view():
    assert reverse("idlewild:session_auth") == URL


def test_a_logged_in_browser_gets_its_user(user, client):
    client.force_login(user)
    answer = client.get(URL)
    assert (answer.status_code, answer.json()) == (200, {"user_id": str(user.pk)})


def test_a_request_without_a_session_is_refused(client):
    assert client.get(URL).status_code == 401
    client.cookies["sessionid"] = "unknown"
    assert client.get(URL).status_code == 401


def test_an_inactive_user_is_refused(user, client, settings):
    client.force_login(user)
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    assert client.get(URL).status_code == 401  # Django itself refuses such a session
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    client.force_login(user)
    assert client.get(URL).status_code == 403


def test_the_user_id_is_that_of_the_tokens(user, client, settings):
    settings.IDLEWILD = {"USER_ID_FIELD": "username"}
    client.force_login(user)
    assert client.get(URL).json() == {"user_id": "ann"}


def test_responses_are_not_cached_and_set_no_cookie(user, client, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    client.force_login(user)
    answer = client.get(URL)
    assert "no-store" in answer["Cache-Control"]
    assert not answer.cookies
    assert not answer.has_header("Vary")


def test_only_get_is_allowed(client):
    for method in (client.post, client.put, client.delete):
        assert method(URL).status_code == 405


def test_a_session_is_not_written(user, client, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    client.force_login(user)
    before = Session.objects.get()
    client.get(URL)
    after = Session.objects.get()
    assert (after.session_data, after.expire_date) == (before.session_data, before.expire_date)


def test_a_change_of_the_secret_key_does_not_log_the_browser_out(user, client, settings):
    client.force_login(user)
    key = Session.objects.get().session_key
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-one-of-the-tests-0123456789abcdef"
    assert client.get(URL).json() == {"user_id": str(user.pk)}
    assert Session.objects.get().session_key == key


def test_a_session_from_before_a_new_password_is_refused(user, client):
    client.force_login(user)
    user.set_password("new")
    get_user_model().objects.filter(pk=user.pk).update(password=user.password)
    assert client.get(URL).status_code == 401


def test_a_site_that_requires_a_login_everywhere_does_not_redirect(client, settings):
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    assert client.get(URL).status_code == 401


def test_configured_classes_of_rest_framework_are_used(user, client, admin, settings):
    token = log_in(client)["access"]
    assert client.get(URL, headers=bearer(token)).status_code == 401
    settings.IDLEWILD |= {
        "SESSION_AUTH_CLASSES": ["idlewild_django.authentication.SingleDeviceJWTAuthentication"]
    }
    assert client.get(URL, headers=bearer(token)).json() == {"user_id": str(user.pk)}
    assert client.get(URL, headers=bearer("forged")).status_code == 401
    assert client.get(URL).status_code == 401


def test_a_site_that_redirects_to_tls_can_exempt_the_view(settings):
    settings.MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        *settings.MIDDLEWARE,
    ]
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get(URL).status_code == 301
    settings.SECURE_REDIRECT_EXEMPT = [r"^api/v1/auth/session-auth/$"]
    assert Client().get(URL).status_code == 401
