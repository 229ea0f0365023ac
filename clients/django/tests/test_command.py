"""`manage.py idlewild_publish`."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hub_support.admin import Answer

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_prints_the_id(admin, capsys):
    call_command("idlewild_publish", "--user", "42", "--data", '{"a": 1}')
    assert capsys.readouterr().out == "1-0\n"
    (asked,) = admin.asked
    assert (asked.json["to"], asked.json["data"]) == ({"user": "42"}, {"a": 1})


@pytest.mark.parametrize(
    ("arguments", "to"),
    [
        (["--users", "1, 2,"], {"users": ["1", "2"]}),
        (["--topic", "orders/eu"], {"topic": "orders/eu"}),
        (["--all"], {"all": True}),
    ],
)
def test_each_target_has_an_option(admin, arguments, to):
    call_command("idlewild_publish", *arguments, "--data", "plain text")
    assert (admin.asked[0].json["to"], admin.asked[0].json["data"]) == (to, "plain text")


def test_name_id_and_persistence_are_options(admin):
    call_command(
        "idlewild_publish", "--all", "--data=1", "--event=tick", "--id=t-1", "--no-persist"
    )
    asked = admin.asked[0].json
    assert (asked["event"], asked["id"], asked["persist"]) == ("tick", "t-1", False)


def test_data_can_be_read_from_stdin(admin, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('["from", "stdin"]'))
    call_command("idlewild_publish", "--all", "--data", "-")
    assert admin.asked[0].json["data"] == ["from", "stdin"]


def test_exactly_one_target_is_required(admin):
    for arguments in ([], ["--all", "--user=1"]):
        with pytest.raises(CommandError):
            call_command("idlewild_publish", *arguments, "--data", "x")


def test_errors_are_reported(admin, settings):
    admin.answers.append(Answer(400, {"error": {"code": "invalid", "message": "to.topic: empty"}}))
    with pytest.raises(CommandError, match=r"to\.topic: empty"):
        call_command("idlewild_publish", "--topic", "a//b", "--data", "x")
    settings.IDLEWILD = {}
    with pytest.raises(CommandError, match="API_KEY"):
        call_command("idlewild_publish", "--all", "--data", "x")


def test_commands_that_send_nothing_need_no_key(settings, user, monkeypatch):
    settings.IDLEWILD = {"API_KEY": None}
    call_command("check")
    call_command("migrate", verbosity=0)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "another-Horse-9")
    call_command("changepassword", user.username, stdout=io.StringIO())
    user.refresh_from_db()
    assert user.check_password("another-Horse-9")
