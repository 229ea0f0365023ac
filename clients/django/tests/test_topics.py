"""The function `TOPICS`, and the claim in the tokens."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from hub_support.streams import StreamClient
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from idlewild_django import send_to_topic
from idlewild_django.serializers import (
    SingleDeviceTokenObtainPairSerializer,
    TopicsTokenObtainPairSerializer,
)
from idlewild_django.topics import topics_of

from .conftest import PASSWORD, bearer, log_in

pytestmark = pytest.mark.django_db(transaction=True)


def of_user(user):
    return (f"orders/{name}" for name in (user.username, user.first_name) if name)


@pytest.fixture
def hook(idlewild_outbox, settings):
    settings.IDLEWILD |= {"TOPICS": "tests.test_topics.of_user"}


def topics(access: str) -> object:
    return AccessToken(access).payload.get("topics", "none")


def test_a_function_or_its_path_gives_the_topics(user, settings):
    assert topics_of(user) is None
    for hook in (of_user, "tests.test_topics.of_user"):
        settings.IDLEWILD = {"TOPICS": hook}
        assert topics_of(user) == ["orders/ann"]
    settings.IDLEWILD = {"TOPICS": lambda user: None}
    assert topics_of(user) is None


@pytest.mark.parametrize("found", ["orders/eu", [1], [None]])
def test_a_wrong_result_is_reported(user, settings, found):
    settings.IDLEWILD = {"TOPICS": lambda user: found}
    with pytest.raises(ImproperlyConfigured, match=r"TOPICS.*expected a list of texts"):
        topics_of(user)


def test_a_login_adds_the_claim_and_a_refresh_asks_again(hook, user, client):
    given = log_in(client)
    assert topics(given["access"]) == ["orders/ann"]
    user.first_name = "eu"
    user.save()
    answer = client.post("/api/v1/auth/refresh/", {"refresh": given["refresh"]})
    assert topics(answer.json()["access"]) == ["orders/ann", "orders/eu"]
    assert AccessToken(answer.json()["access"])["session_id"]


def test_with_several_devices_there_is_no_session(hook, user, client, settings):
    settings.ROOT_URLCONF = "tests.routed.of_topics"
    login = {"username": "ann", "password": PASSWORD}
    first, second = (client.post("/api/token/", login).json() for _ in range(2))
    for given in (first, second):
        assert topics(given["access"]) == ["orders/ann"]
        assert "session_id" not in AccessToken(given["access"])
        answer = client.post("/api/token/refresh/", {"refresh": given["refresh"]})
        assert topics(answer.json()["access"]) == ["orders/ann"]


def test_a_user_who_has_no_topics_any_more_loses_the_claim(hook, user, client, settings):
    given = log_in(client)
    settings.IDLEWILD |= {"TOPICS": lambda user: None}
    answer = client.post("/api/v1/auth/refresh/", {"refresh": given["refresh"]})
    assert topics(answer.json()["access"]) == "none"


def failing(user):
    raise LookupError(user.username)


def test_a_failing_function_leaves_the_session(hook, user, client, settings):
    given = log_in(client)
    settings.IDLEWILD |= {"TOPICS": failing}
    with pytest.raises(LookupError, match="ann"):
        log_in(client)
    assert client.get("/me/", headers=bearer(given["access"])).status_code == 200


@pytest.mark.parametrize("urls", ["tests.urls", "tests.routed.of_topics"])
def test_a_failing_function_leaves_the_refresh_token(
    idlewild_outbox, user, client, settings, monkeypatch, urls
):
    settings.ROOT_URLCONF = urls
    path = "/api/v1/auth/refresh/" if urls == "tests.urls" else "/api/token/refresh/"
    refresh = str(SingleDeviceTokenObtainPairSerializer.get_token(user))
    blacklisted = []
    # As with the app `token_blacklist`, without its tables.
    monkeypatch.setattr(
        RefreshToken, "blacklist", lambda token: blacklisted.append(str(token)), raising=False
    )
    monkeypatch.setattr(api_settings, "ROTATE_REFRESH_TOKENS", True)
    monkeypatch.setattr(api_settings, "BLACKLIST_AFTER_ROTATION", True)
    settings.IDLEWILD |= {"TOPICS": failing}
    with pytest.raises(LookupError, match="ann"):
        client.post(path, {"refresh": refresh})
    assert blacklisted == []
    settings.IDLEWILD |= {"TOPICS": of_user}
    answer = client.post(path, {"refresh": refresh})
    assert topics(answer.json()["access"]) == ["orders/ann"]
    assert blacklisted == [refresh]


def test_without_the_function_tokens_are_those_of_simplejwt(idlewild_outbox, user):
    token = TopicsTokenObtainPairSerializer.get_token(user)
    plain = TokenObtainPairSerializer.get_token(user)
    assert set(token.payload) == set(plain.payload)


def test_idlewild_delivers_the_topics_of_the_function(server, user, settings):
    settings.IDLEWILD |= {"TOPICS": of_user}
    access = str(SingleDeviceTokenObtainPairSerializer.get_token(user).access_token)
    with StreamClient(f"{server.base}/sse/notifications/", headers=bearer(access)) as opened:
        opened.frame()
        send_to_topic("orders/bob", "not for ann")
        send_to_topic("orders/ann", "for ann")
        assert opened.event().fields["data"] == "for ann"
