from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.test import override_settings
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from idlewild_django.checks import check_deployment, check_logins, check_settings

KEY = {"API_KEY": "idw_x"}
PLAIN = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"]
}
SINGLE_SERIALIZERS = {
    "TOKEN_OBTAIN_SERIALIZER": "idlewild_django.serializers.SingleDeviceTokenObtainPairSerializer",
    "TOKEN_REFRESH_SERIALIZER": "idlewild_django.serializers.SingleDeviceTokenRefreshSerializer",
}


def found(**settings) -> list[str]:
    with override_settings(**settings):
        messages = check_settings() + check_logins()
    return [each.id.removeprefix("idlewild_django.") for each in messages]


def test_a_correct_project_has_no_findings():
    assert found(IDLEWILD=KEY) == []
    assert found(IDLEWILD={"BACKEND": "local"}, DEBUG=True) == []


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        ("E001", {"IDLEWILD": {"APIKEY": "x"}}),
        ("W002", {"IDLEWILD": {}}),
        ("W008", {"IDLEWILD": {"API_KEY": "idw_x\n"}}),
        ("E001", {"IDLEWILD": {"API_KEY": "idw_\nx"}}),
        ("W003", {"IDLEWILD": {"BACKEND": "local"}, "DEBUG": False}),
        ("W004", {"IDLEWILD": KEY, "SIMPLE_JWT": {"USER_ID_CLAIM": "sub"}}),
        ("W004", {"IDLEWILD": KEY, "SIMPLE_JWT": {"TOKEN_TYPE_CLAIM": "typ"}}),
        ("W005", {"IDLEWILD": KEY, "SIMPLE_JWT": {"SIGNING_KEY": "short"}}),
        ("W006", {"IDLEWILD": KEY, "SIMPLE_JWT": {"USER_ID_FIELD": "username"}}),
        ("W007", {"IDLEWILD": KEY, "REST_FRAMEWORK": PLAIN}),
    ],
)
def test_each_mistake_has_its_own_id(expected, settings):
    assert found(**settings) == [expected]


@pytest.mark.parametrize("key", ["idw_secret\n", "idw_\nsecret", "idw_secret\u00fc", b"idw_secret"])
def test_no_message_of_a_check_shows_a_key(key):
    with override_settings(IDLEWILD={"API_KEY": key}):
        messages = check_settings()
    assert messages
    assert all("secret" not in f"{each!r} {each}" for each in messages)


def test_pk_and_the_name_of_the_primary_key_are_the_same_field():
    by_name = {"USER_ID_FIELD": "username"}
    assert found(IDLEWILD=KEY | by_name, SIMPLE_JWT=by_name) == []
    assert found(IDLEWILD=KEY | {"USER_ID_FIELD": "id"}) == []


def test_a_missing_key_stops_no_command(monkeypatch):
    with override_settings(IDLEWILD={"API_KEY": None}):
        (missing,) = check_settings()
        assert not missing.is_serious()
        monkeypatch.setenv("IDLEWILD_API_KEY", "idw_environment")
    with override_settings(IDLEWILD={"API_KEY": None}):
        assert check_settings() == []


def test_several_devices_need_no_setting():
    """SimpleJWT's own views and classes, and the streams' URLs: the first quick start."""
    assert found(IDLEWILD=KEY, REST_FRAMEWORK=PLAIN, ROOT_URLCONF="tests.routed.plain") == []


def test_simplejwts_own_views_are_reported_if_users_have_one_device(monkeypatch):
    assert found(IDLEWILD=KEY, ROOT_URLCONF="tests.routed.plain") == ["W009", "W011"]
    with override_settings(IDLEWILD=KEY, ROOT_URLCONF="tests.routed.plain"):
        login, refresh = check_logins()
    assert "TokenObtainPairView uses TokenObtainPairSerializer, whose tokens have no" in login.msg
    assert SINGLE_SERIALIZERS["TOKEN_OBTAIN_SERIALIZER"] in login.hint
    assert SINGLE_SERIALIZERS["TOKEN_REFRESH_SERIALIZER"] in refresh.hint
    # The views read the setting once, when they are imported.
    for view, key in (
        (TokenObtainPairView, "TOKEN_OBTAIN_SERIALIZER"),
        (TokenRefreshView, "TOKEN_REFRESH_SERIALIZER"),
    ):
        monkeypatch.setattr(view, "_serializer_class", SINGLE_SERIALIZERS[key])
    assert found(IDLEWILD=KEY, ROOT_URLCONF="tests.routed.plain") == []


def test_serializers_of_the_project_are_looked_at():
    assert found(IDLEWILD=KEY, ROOT_URLCONF="tests.routed.of_plain_serializer") == ["W009"]
    assert found(IDLEWILD=KEY, ROOT_URLCONF="tests.routed.of_single_serializer") == []


def test_a_memory_backend_is_an_error_where_the_project_is_deployed(settings):
    settings.IDLEWILD = {"BACKEND": "memory"}
    assert found() == []
    assert [each.id for each in check_deployment()] == ["idlewild_django.E010"]
    settings.IDLEWILD = KEY
    assert check_deployment() == []


def test_all_checks_are_registered(settings):
    settings.IDLEWILD = {"BACKEND": "memory"}
    settings.ROOT_URLCONF = "tests.routed.plain"
    ids = {each.id for each in run_checks(include_deployment_checks=True)}
    assert {"idlewild_django.W009", "idlewild_django.E010"} <= ids
