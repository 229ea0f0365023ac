"""The admin page of the device sessions."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse

from idlewild_django.models import DeviceSession
from idlewild_django.sessions import start_session
from idlewild_django.testing import assert_logged_out

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/idlewild_django/devicesession/"


@pytest.fixture
def staff(idlewild_outbox, client):
    staff = get_user_model().objects.create_superuser("root", "root@example.com", "x")
    client.force_login(staff)
    return staff


def log_out(client, *users):
    chosen = {"action": "log_out", "_selected_action": [user.pk for user in users]}
    return client.post(LIST, chosen, follow=True)


def test_the_page_lists_the_sessions(staff, user, client):
    start_session(user)
    page = client.get(LIST)
    assert page.status_code == 200
    assert "Log out the selected users" in page.text
    assert "ann" in page.text
    assert "/admin/idlewild_django/devicesession/add/" not in page.text
    change = client.get(f"{LIST}{user.pk}/change/")
    assert change.status_code == 200
    assert 'name="session_id"' not in change.text


@pytest.mark.parametrize(("text", "count"), [("ann@exa", 1), ("ann", 1), ("bob", 0)])
def test_users_are_found_by_name_and_address(staff, user, client, text, count):
    start_session(user)
    assert client.get(LIST, {"q": text}).context["cl"].result_count == count


def test_the_action_logs_users_out(staff, user, client, idlewild_outbox):
    start_session(user)
    bob, cyd = (get_user_model().objects.create_user(name) for name in ("bob", "cyd"))
    start_session(bob)
    start_session(cyd)
    page = log_out(client, user, bob)
    assert "2 users were logged out." in page.text
    for each in (user, bob):
        assert assert_logged_out(each).message == "You have been logged out."
        assert DeviceSession.objects.get(user=each).session_id == ""
    assert DeviceSession.objects.get(user=cyd).session_id
    log_out(client, user)
    assert len(idlewild_outbox.log_outs) == 2  # already logged out


def test_the_action_reports_that_idlewild_is_down(staff, user, client, idlewild_outbox, settings):
    settings.IDLEWILD |= {"FAIL_SILENTLY": True}
    start_session(user)
    with idlewild_outbox.failing():
        page = log_out(client, user)
    assert "1 session ended, but Idlewild could not be reached" in page.text
    assert "idlewild_register_sessions" in page.text
    row = DeviceSession.objects.get(user=user)
    assert (row.session_id, row.registered) == ("", False)


def test_a_deleted_session_is_logged_out(staff, user, client):
    start_session(user)
    client.post(f"{LIST}{user.pk}/delete/", {"post": "yes"})
    assert not DeviceSession.objects.exists()
    assert_logged_out(user)
    start_session(user)
    chosen = {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"}
    client.post(LIST, chosen)
    assert not DeviceSession.objects.exists()


def test_with_atomic_requests_the_action_reports_that_idlewild_is_down(
    staff, user, client, idlewild_outbox, monkeypatch
):
    start_session(user)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with idlewild_outbox.failing():
        page = log_out(client, user)
    assert "1 session ended, but Idlewild could not be reached" in page.text
    assert "was logged out." not in page.text


def test_one_user_without_an_id_does_not_stop_the_others(staff, user, client, settings):
    nobody = get_user_model().objects.create_user("bob", "")
    for each in (nobody, user):
        start_session(each)
    settings.IDLEWILD |= {"USER_ID_FIELD": "email"}
    page = log_out(client, nobody, user)
    assert "has no id (email)" in page.text
    assert "1 user was logged out." in page.text
    assert_logged_out(user.email)


@pytest.mark.parametrize("in_list", [True, False])
def test_a_deletion_reports_that_idlewild_is_down(staff, user, client, idlewild_outbox, in_list):
    start_session(user)
    path = LIST if in_list else f"{LIST}{user.pk}/delete/"
    chosen = {"action": "delete_selected", "_selected_action": [user.pk]} if in_list else {}
    with idlewild_outbox.failing():
        page = client.post(path, chosen | {"post": "yes"}, follow=True)
    assert "1 session was deleted, but Idlewild could not be reached" in page.text
    assert not DeviceSession.objects.exists()


def test_who_may_only_look_has_no_action(staff, user, client):
    start_session(user)
    looking = get_user_model().objects.create_user("look", is_staff=True)
    looking.user_permissions.add(Permission.objects.get(codename="view_devicesession"))
    client.force_login(looking)
    assert client.get(LIST).status_code == 200
    log_out(client, user)
    assert DeviceSession.objects.get(user=user).session_id


def test_who_may_delete_users_may_still_do_so(staff, user, client):
    """Django asks for the permission to delete a user's session as well."""
    start_session(user)
    keeper = get_user_model().objects.create_user("keeper", is_staff=True)
    for codename in ("view_user", "delete_user"):
        keeper.user_permissions.add(Permission.objects.get(codename=codename))
    client.force_login(keeper)
    client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"})
    assert not get_user_model().objects.filter(pk=user.pk).exists()
