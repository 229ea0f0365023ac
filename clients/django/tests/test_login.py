"""Login and refresh: one session per user, in the database, in the tokens, and in Idlewild."""

from __future__ import annotations

import logging
import threading

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from hub_support.admin import Answer
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from idlewild_django import force_logout
from idlewild_django.models import DeviceSession
from idlewild_django.serializers import SingleDeviceTokenObtainPairSerializer
from idlewild_django.sessions import start_session

from .conftest import PASSWORD, bearer, log_in

pytestmark = pytest.mark.django_db(transaction=True)


def row(user) -> DeviceSession:
    return DeviceSession.objects.get(user=user)


def refresh(client, token: str):
    return client.post("/api/v1/auth/refresh/", {"refresh": token}, content_type="application/json")


def test_a_login_has_the_guides_response(admin, user, client):
    answer = log_in(client)
    assert answer["user"] == {"id": user.pk, "email": "ann@example.com"}
    for token in (AccessToken(answer["access"]), RefreshToken(answer["refresh"])):
        assert token["session_id"] == row(user).session_id


def test_a_login_registers_its_session_before_the_response(admin, user, client):
    log_in(client)
    (asked,) = admin.asked
    assert (asked.method, asked.path) == ("PUT", f"/v1/users/{user.pk}/session")
    assert asked.json == {
        "session_id": row(user).session_id,
        "message": "You have been logged in from another device.",
    }
    assert row(user).registered


def test_a_user_logs_in_by_name_or_by_a_unique_address(admin, user, client):
    login = "/api/v1/auth/login/"
    by_name = {"username": "ann", "password": PASSWORD}
    assert client.post(login, by_name).status_code == 200
    assert client.post(login, {"email": "ANN@example.com", "password": PASSWORD}).status_code == 200
    assert client.post(login, {"email": "who@example.com", "password": "x"}).status_code == 401
    assert client.post(login, {"email": "ann@example.com", "password": "x"}).status_code == 401
    missing = client.post(login, {"password": "x"})
    assert (missing.status_code, missing.json()) == (400, {"username": ["This field is required."]})
    get_user_model().objects.create_user("bob", "ann@example.com", PASSWORD)
    assert client.post(login, {"email": "ann@example.com", "password": PASSWORD}).status_code == 401
    assert client.post(login, by_name).status_code == 200


def test_only_tokens_of_the_current_session_are_accepted(admin, user, client):
    first = log_in(client)
    assert client.get("/me/", headers=bearer(first["access"])).json() == {"id": user.pk}
    second = log_in(client)
    refused = client.get("/me/", headers=bearer(first["access"]))
    assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")
    assert client.get("/me/", headers=bearer(second["access"])).status_code == 200


def test_a_token_without_a_session_is_refused(admin, user, client):
    log_in(client)
    token = str(AccessToken.for_user(user))
    for refused in (
        client.get("/me/", headers=bearer(token)),
        refresh(client, str(RefreshToken.for_user(user))),
    ):
        assert (refused.status_code, refused.json()["code"]) == (401, "session_missing")
        assert "no claim “session_id”" in refused.json()["detail"]
        assert "SingleDeviceTokenObtainPairSerializer" in refused.json()["detail"]


def test_after_a_log_out_an_empty_session_is_refused(admin, user, client):
    log_in(client)
    force_logout(user)
    token = AccessToken.for_user(user)
    token["session_id"] = ""
    assert client.get("/me/", headers=bearer(str(token))).status_code == 401


def test_checking_the_session_costs_one_query(admin, user, client, django_assert_num_queries):
    token = log_in(client)["access"]
    with django_assert_num_queries(2):  # the user, which SimpleJWT reads, and the session
        client.get("/me/", headers=bearer(token))


def test_a_refresh_keeps_the_session(admin, user, client):
    given = log_in(client)
    answer = refresh(client, given["refresh"])
    assert answer.status_code == 200
    assert AccessToken(answer.json()["access"])["session_id"] == row(user).session_id
    assert len(admin.asked) == 1  # Idlewild knows the session


def test_a_refresh_of_an_ended_session_is_refused(admin, user, client):
    given = log_in(client)
    log_in(client)
    answer = refresh(client, given["refresh"])
    assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")


def test_a_refresh_of_a_deleted_or_inactive_user_is_refused(admin, user, client):
    given = log_in(client)
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    assert refresh(client, given["refresh"]).status_code == 401
    user.delete()
    assert refresh(client, given["refresh"]).status_code == 401


def test_the_name_of_the_claim_is_configurable(admin, user, client, settings):
    settings.IDLEWILD |= {"SESSION_CLAIM": "sid"}
    access = log_in(client)["access"]
    assert AccessToken(access)["sid"] == row(user).session_id
    assert client.get("/me/", headers=bearer(access)).status_code == 200


def test_without_idlewild_a_login_succeeds_and_is_sent_at_the_next_refresh(
    admin, user, client, settings, caplog
):
    settings.IDLEWILD |= {"RETRIES": 0}
    admin.answers.append(Answer(503))
    with caplog.at_level(logging.ERROR, "idlewild_django"):
        given = log_in(client)
    assert f"session of user {user.pk} not registered" in caplog.text
    assert not row(user).registered
    assert refresh(client, given["refresh"]).status_code == 200
    assert row(user).registered
    assert admin.asked[-1].json["session_id"] == row(user).session_id


def test_without_idlewild_a_refresh_succeeds(away, user, client):
    given = log_in(client)
    assert refresh(client, given["refresh"]).status_code == 200
    assert not row(user).registered


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_if_registration_is_required_a_refused_login_changes_nothing(
    admin, user, client, settings, monkeypatch, atomic_requests
):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    settings.IDLEWILD |= {"REQUIRE_SESSION_REGISTRATION": True, "RETRIES": 0}
    first = log_in(client)
    admin.answers.append(Answer(503))
    answer = client.post("/api/v1/auth/login/", {"username": "ann", "password": PASSWORD})
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert client.get("/me/", headers=bearer(first["access"])).status_code == 200
    # Idlewild may have received the other session, so this one is sent again.
    assert not row(user).registered
    refresh(client, first["refresh"])
    assert admin.asked[-1].json["session_id"] == row(user).session_id


def test_in_a_transaction_the_session_is_sent_after_the_commit(admin, user):
    with transaction.atomic():
        SingleDeviceTokenObtainPairSerializer.get_token(user)
        assert admin.asked == []
    assert row(user).registered


def test_a_login_that_overtakes_another_wins_in_both_places(admin, user):
    """The second login starts during the request for the first, and finishes before it or waits."""
    sessions: list[str] = []
    heard: list[str] = []

    def log_in_again() -> None:
        sessions.append(start_session(user))
        connection.close()

    second = threading.Thread(target=log_in_again)

    def hear_late() -> None:
        session_id = admin.asked[-1].json["session_id"]
        second.start()
        # With row locks, the second login waits for this one, so this wait needs a limit.
        second.join(0.5)
        heard.append(session_id)

    def hear() -> None:
        heard.append(admin.asked[-1].json["session_id"])

    admin.answers.extend([Answer(json=hear_late), Answer(json=hear), Answer(json=hear)])
    start_session(user)
    second.join()
    assert row(user).session_id == heard[-1] == sessions[0]
    assert row(user).registered


def test_a_log_out_overtaken_by_a_new_login_is_not_sent(admin, user):
    start_session(user)
    with transaction.atomic():
        force_logout(user)
        # In the same transaction, so that it happens before the log-out is sent.
        start_session(user)
    assert "logout" not in "".join(admin.paths)
    assert row(user).registered


def test_the_command_sends_the_sessions_that_idlewild_missed(admin, user, settings, capsys):
    settings.IDLEWILD |= {"RETRIES": 0}
    others = [get_user_model().objects.create_user(name) for name in ("bob", "cyd")]
    admin.answers.extend([Answer(503), Answer(503)])
    start_session(user)
    start_session(others[0])
    start_session(others[1])
    admin.asked.clear()
    call_command("idlewild_register_sessions")
    assert admin.paths == [f"PUT /v1/users/{each.pk}/session" for each in (user, others[0])]
    call_command("idlewild_register_sessions")
    call_command("idlewild_register_sessions", "--all")
    assert len(admin.asked) == 2 + 3
    assert capsys.readouterr().out == "2 sent\n0 sent\n3 sent\n"


def test_the_command_sends_a_log_out_that_idlewild_missed(admin, user, settings):
    start_session(user)
    settings.IDLEWILD |= {"RETRIES": 0}
    admin.answers.append(Answer(503))
    with transaction.atomic():
        force_logout(user)
    admin.asked.clear()
    call_command("idlewild_register_sessions")
    assert admin.paths == [f"POST /v1/users/{user.pk}/logout"]
    assert row(user).registered


def test_a_failing_command_prints_how_many_were_sent(away, user):
    start_session(user)
    with pytest.raises(CommandError, match="0 sent, then: http"):
        call_command("idlewild_register_sessions")


def test_the_command_continues_after_a_user_that_idlewild_refuses(admin, user, capsys, settings):
    others = [get_user_model().objects.create_user(name) for name in ("bob", "cyd")]
    refused = Answer(400, {"error": {"code": "invalid", "message": "user: too long"}})
    for each in (user, *others):
        admin.answers.append(refused)
        start_session(each)
    admin.answers.append(refused)
    settings.IDLEWILD |= {"USER_ID_FIELD": "email"}
    others[0].email = "bob@example.com"
    others[0].save()
    with pytest.raises(CommandError, match="1 sent, 2 failed"):
        call_command("idlewild_register_sessions")
    assert [row(each).registered for each in (user, *others)] == [False, True, False]
    said = capsys.readouterr().err
    assert f"user {user.pk}: user: too long (invalid)" in said
    assert f"user {others[1].pk}: user: <User: cyd> has no id (email)" in said


def test_the_text_of_a_row_has_user_and_session(admin, user):
    session_id = start_session(user)
    assert str(row(user)) == f"{user.pk}: {session_id}"
    force_logout(user)
    assert str(row(user)) == f"{user.pk}: logged out"
