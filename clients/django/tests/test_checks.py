from __future__ import annotations

import pytest
from django.test import override_settings

from idlewild_django.checks import check_settings

KEY = {"API_KEY": "idw_x"}


def found(**settings) -> list[str]:
    with override_settings(**settings):
        return [each.id.removeprefix("idlewild_django.") for each in check_settings()]


def test_a_correct_project_has_no_findings():
    assert found(IDLEWILD=KEY) == []
    assert found(IDLEWILD={"BACKEND": "local"}, DEBUG=True) == []


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        ("E001", {"IDLEWILD": {"APIKEY": "x"}}),
        ("E002", {"IDLEWILD": {}}),
        ("W008", {"IDLEWILD": {"API_KEY": "idw_x\n"}}),
        ("E001", {"IDLEWILD": {"API_KEY": "idw_\nx"}}),
        ("W003", {"IDLEWILD": {"BACKEND": "local"}, "DEBUG": False}),
        ("W004", {"IDLEWILD": KEY, "SIMPLE_JWT": {"USER_ID_CLAIM": "sub"}}),
        ("W004", {"IDLEWILD": KEY, "SIMPLE_JWT": {"TOKEN_TYPE_CLAIM": "typ"}}),
        ("W005", {"IDLEWILD": KEY, "SIMPLE_JWT": {"SIGNING_KEY": "short"}}),
        ("W006", {"IDLEWILD": KEY, "SIMPLE_JWT": {"USER_ID_FIELD": "username"}}),
        (
            "W007",
            {
                "IDLEWILD": KEY,
                "REST_FRAMEWORK": {
                    "DEFAULT_AUTHENTICATION_CLASSES": [
                        "rest_framework_simplejwt.authentication.JWTAuthentication"
                    ]
                },
            },
        ),
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
