"""New passwords, deactivated and deleted accounts: which users are logged out, and which not."""

from __future__ import annotations

import logging

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from idlewild_django import receivers
from idlewild_django.models import DeviceSession
from idlewild_django.sessions import start_session

from .conftest import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


class Proxy(User):
    class Meta:
        proxy = True
        app_label = "auth"


class Member(AbstractBaseUser):
    """A user whose `is_active` is not a field."""

    is_closed = models.BooleanField(default=False)

    class Meta:
        app_label = "auth"

    @property
    def is_active(self):
        return not self.is_closed


@pytest.fixture
def member(admin, settings):
    settings.AUTH_USER_MODEL = "auth.Member"
    with connection.schema_editor() as editor:
        editor.create_model(Member)
    yield Member.objects.create()
    with connection.schema_editor() as editor:
        editor.delete_model(Member)


@pytest.fixture
def reasons(admin, user):
    """The reasons of the log-outs sent to Idlewild since."""
    start_session(user)
    return lambda: [
        each.json["reason"] for each in admin.asked if each.path == f"/v1/users/{user.pk}/logout"
    ]


def test_a_new_password_logs_out_and_ends_the_session(admin, user, reasons):
    user.set_password("new")
    user.save()
    assert reasons() == ["password_changed"]
    assert admin.asked[-1].json["message"] == "Your password was changed. Please log in again."
    row = DeviceSession.objects.get(user=user)
    assert (row.session_id, row.registered) == ("", True)


def test_a_save_of_the_password_field_logs_out(user, reasons):
    user.set_password("new")
    user.save(update_fields=["last_login"])
    assert reasons() == []
    user.set_password("new")
    user.save(update_fields=["password"])
    assert reasons() == ["password_changed"]


def test_a_stronger_hash_of_the_same_password_does_not_log_out(user, reasons, settings):
    before = user.password
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    assert user.check_password(PASSWORD)
    user.refresh_from_db()
    assert user.password != before
    assert reasons() == []


def test_other_changes_do_not_log_out(admin, user):
    start_session(user)
    user.first_name = "Ann"
    user.save()
    Group.objects.create(name="staff")
    get_user_model().objects.create_user("bob", password="x")
    get_user_model().objects.create_user("cyd", is_active=False)
    new = get_user_model()(username="dan")
    new.set_password("x")
    new.save()
    assert not any(path.endswith("/logout") for path in admin.paths)


def test_deactivation_logs_out_once(user, reasons):
    user.is_active = False
    user.save(update_fields=["first_name"])
    assert reasons() == []
    user.save()
    assert reasons() == ["deactivated"]
    user.save()
    user.is_active = True
    user.save()
    assert reasons() == ["deactivated"]


def test_a_deactivation_that_was_not_saved_is_ignored(user, reasons):
    get_user_model().objects.create_user("bob")
    user.username, user.is_active = "bob", False
    with pytest.raises(IntegrityError):
        user.save()
    user.username, user.is_active = "ann", True
    user.save()
    assert reasons() == []


def test_is_active_may_be_a_property(admin, member):
    member.is_closed = True
    member.save()
    member.save()
    assert admin.paths == [f"POST /v1/users/{member.pk}/logout"]
    assert admin.asked[0].json["reason"] == "deactivated"


def test_a_user_without_an_id_is_saved_and_deleted_without_idlewild(admin, settings):
    settings.IDLEWILD |= {"USER_ID_FIELD": "email"}
    user = get_user_model().objects.create_user("bob", password="x")
    user.set_password("new")
    user.save()
    user.is_active = False
    user.save()
    user.delete()
    assert admin.paths == []


def test_a_user_saved_as_a_proxy_is_logged_out(user, reasons):
    same = Proxy.objects.get(pk=user.pk)
    same.is_active = False
    same.save()
    assert reasons() == ["deactivated"]


def test_deletion_logs_out(user, admin):
    start_session(user)
    pk = user.pk
    user.delete()
    assert admin.asked[-1].path == f"/v1/users/{pk}/logout"
    assert admin.asked[-1].json["reason"] == "deactivated"


def test_deletion_as_a_proxy_logs_out_once(admin, user):
    receivers.connect()  # Again, because the proxy was created after the apps were loaded.
    same = Proxy.objects.get(pk=user.pk)
    same.delete()
    assert admin.paths == [f"POST /v1/users/{user.pk}/logout"]


def test_rows_of_other_models_are_still_deleted_without_being_read(user):
    Session.objects.create(session_key="1", expire_date=timezone.now())
    with CaptureQueriesContext(connection) as asked:
        assert Session.objects.all().delete()[0] == 1
    assert not any("SELECT" in each["sql"] for each in asked.captured_queries)


def test_the_log_out_is_sent_after_the_commit(user, reasons):
    with transaction.atomic():
        user.set_password("new")
        user.save()
        transaction.set_rollback(True)
    assert reasons() == []
    assert DeviceSession.objects.get(user=user).session_id != ""
    with transaction.atomic():
        user.set_password("new")
        user.save()
        assert reasons() == []
    assert reasons() == ["password_changed"]


def test_a_project_can_set_the_message(admin, user, reasons, settings):
    settings.IDLEWILD |= {"MESSAGES": {"password_changed": "Neues Passwort."}}
    user.set_password("new")
    user.save()
    assert admin.asked[-1].json["message"] == "Neues Passwort."


def test_without_idlewild_the_password_is_still_changed(user, away, caplog):
    start_session(user)
    with caplog.at_level(logging.ERROR, "idlewild_django"):
        user.set_password("new")
        user.save()
    assert "not sent after the commit" in caplog.text
    user.refresh_from_db()
    assert user.check_password("new")
    row = DeviceSession.objects.get(user=user)
    assert (row.session_id, row.registered) == ("", False)


def test_loading_a_fixture_does_not_log_out(user, reasons):
    from django.core import serializers

    user.is_active = False
    dumped = serializers.serialize("json", [user])
    for each in serializers.deserialize("json", dumped):
        each.save()
    assert reasons() == []
