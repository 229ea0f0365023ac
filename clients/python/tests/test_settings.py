from __future__ import annotations

import pytest

from idlewild import AsyncClient, Client
from idlewild.settings import InvalidSetting, Settings, api_key_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "127.0.0.1:8001"),
        ("url", "ftp://hub"),
        ("url", "unix:relative.sock"),
        ("url", None),
        ("timeout", 0),
        ("timeout", "2"),
        ("total_timeout", True),
        ("retries", -1),
        ("retries", 1.5),
        ("pool_size", 0),
        ("max_data_bytes", False),
    ],
)
def test_a_bad_value_is_reported_with_its_name(name, value):
    with pytest.raises(InvalidSetting, match=rf"^{name}: .*expected") as raised:
        Settings(**{name: value})
    assert (raised.value.name, raised.value.shown) == (name, repr(value))


def test_a_key_is_never_shown():
    assert "idw_secret" not in repr(Settings(api_key="idw_secret"))
    for key in (b"idw_secret", "idw_\nsecret", "idw_secret\u00fc", "idw_secret\x00"):
        with pytest.raises(InvalidSetting, match=r"api_key: …") as raised:
            Settings(api_key=key)
        assert "secret" not in f"{raised.value} {raised.value!r}"


def test_whitespace_around_a_key_is_ignored():
    assert Settings(api_key=" idw_secret\r\n").api_key == "idw_secret"


def test_a_unix_socket_is_a_valid_url():
    settings = Settings(url="unix:/run/idlewild/admin.sock")
    assert settings.socket_path == "/run/idlewild/admin.sock"
    assert settings.base_url == "http://localhost"
    assert Settings(url="http://hub:8001/").base_url == "http://hub:8001"


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({}, ""),
        ({"IDLEWILD_API_KEY": " idw_x\n"}, "idw_x"),
        ({"IDLEWILD_ADMIN__API_KEY": "idw_x"}, "idw_x"),
        ({"IDLEWILD_ADMIN__API_KEY": "idw_long", "IDLEWILD_API_KEY": "idw_short"}, "idw_long"),
        ({"IDLEWILD_ADMIN__API_KEY": " ", "IDLEWILD_API_KEY": "idw_short"}, "idw_short"),
    ],
)
def test_the_key_in_the_environment_is_the_one_that_the_server_reads(environment, key):
    assert api_key_of(environment) == key


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_takes_the_key_from_the_environment_unless_one_is_given(kind, monkeypatch):
    with pytest.raises(ValueError, match="IDLEWILD_API_KEY"):
        kind()
    monkeypatch.setenv("IDLEWILD_API_KEY", "idw_environment")
    assert kind()._settings.api_key == "idw_environment"
    assert kind(api_key="idw_given")._settings.api_key == "idw_given"
    with pytest.raises(ValueError, match="api_key is missing"):
        kind(api_key="")
