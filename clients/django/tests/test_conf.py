from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.translation import gettext_lazy

from idlewild_django.conf import Config, config, parse


def test_the_defaults_are_valid_and_immutable():
    assert parse({}) == Config()
    with pytest.raises(AttributeError):
        parse({}).url = "http://elsewhere"


def test_an_overridden_setting_is_read_again():
    before = config()
    with override_settings(IDLEWILD={"URL": "http://hub:8001/"}):
        assert config().url == "http://hub:8001/"
    assert config() == before


def test_an_unknown_key_is_reported_with_the_known_ones():
    with pytest.raises(ImproperlyConfigured, match=r"unknown key APIKEY; .*API_KEY"):
        parse({"APIKEY": "x"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("BACKEND", "redis"),
        ("URL", "127.0.0.1:8001"),
        ("URL", "ftp://hub"),
        ("URL", "unix:relative.sock"),
        ("URL", None),
        ("API_KEY", 7),
        ("TIMEOUT", 0),
        ("TIMEOUT", "2"),
        ("TOTAL_TIMEOUT", True),
        ("RETRIES", -1),
        ("RETRIES", 1.5),
        ("POOL_SIZE", 0),
        ("MAX_DATA_BYTES", False),
        ("HEARTBEAT", -1),
        ("MAX_CONNECTIONS_PER_USER", 0),
        ("USER_ID_FIELD", ""),
        ("REQUIRE_SESSION_REGISTRATION", 1),
        ("FAIL_SILENTLY", "yes"),
        ("TOPICS", ["orders/eu"]),
        ("MESSAGES", ["new_login"]),
        ("SESSION_AUTH_CLASSES", "path.to.Class"),
    ],
)
def test_a_bad_value_is_reported_with_its_key(key, value):
    with pytest.raises(ImproperlyConfigured, match=rf'IDLEWILD\["{key}"\]: .*expected'):
        parse({key: value})


def test_a_key_is_never_shown():
    assert "idw_secret" not in repr(parse({"API_KEY": "idw_secret"}))
    with pytest.raises(ImproperlyConfigured) as raised:
        parse({"API_KEY": b"idw_secret"})
    assert "idw_secret" not in str(raised.value)


def test_white_space_around_a_key_is_ignored():
    assert parse({"API_KEY": " idw_secret\r\n"}).api_key == "idw_secret"


@pytest.mark.parametrize("key", ["idw_\nsecret", "idw_secret\u00fc", "idw_secret\x00"])
def test_a_key_that_cannot_be_in_a_header_is_refused_and_not_shown(key):
    with pytest.raises(ImproperlyConfigured, match=r'IDLEWILD\["API_KEY"\]: .*printable') as raised:
        parse({"API_KEY": key})
    assert "secret" not in f"{raised.value} {raised.value!r}"


@pytest.mark.parametrize("given", [{}, {"API_KEY": ""}, {"API_KEY": " \n"}, {"API_KEY": None}])
def test_the_key_in_the_environment_is_the_default(given, monkeypatch):
    assert parse(given).api_key == ""
    monkeypatch.setenv("IDLEWILD_API_KEY", "idw_environment\n")
    assert parse(given).api_key == "idw_environment"
    assert parse({"API_KEY": "idw_setting"}).api_key == "idw_setting"
    monkeypatch.setenv("IDLEWILD_ADMIN__API_KEY", "idw_first")  # as with the server
    assert parse(given).api_key == "idw_first"


def test_a_unix_socket_is_a_valid_url():
    assert parse({"URL": "unix:/run/idlewild/admin.sock"}).url == "unix:/run/idlewild/admin.sock"


def test_a_project_can_override_single_messages():
    parsed = parse({"MESSAGES": {"new_login": gettext_lazy("Elsewhere.")}})
    assert parsed.message("new_login") == "Elsewhere."
    assert parsed.message("password_changed") == Config().message("password_changed")
    assert parsed.message("a reason of the project") == Config().message("logout")


def test_a_setting_that_is_not_a_dictionary_is_refused():
    with (
        override_settings(IDLEWILD="http://hub"),
        pytest.raises(ImproperlyConfigured, match="expected a dictionary"),
    ):
        config()
