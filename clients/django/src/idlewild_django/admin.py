"""The admin page of the device sessions, with an action that logs users out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from idlewild import IdlewildError

from .models import DeviceSession
from .publish import force_logout

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[DeviceSession]
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(DeviceSession)
class DeviceSessionAdmin(ModelAdmin):
    """A session starts at a login, and ends with the action or with its row."""

    list_display = ("user", "is_logged_in", "started_at", "registered")
    list_filter = ("registered", "started_at")
    list_select_related = ("user",)
    ordering = ("-started_at",)
    fields = readonly_fields = ("user", "is_logged_in", "started_at", "registered")
    actions = ("log_out",)

    @admin.display(boolean=True, description=_("logged in"))
    def is_logged_in(self, session: DeviceSession) -> bool:
        return bool(session.session_id)

    def get_search_fields(self, request: HttpRequest) -> list[str]:  # noqa: ARG002
        user = get_user_model()
        names = {user.USERNAME_FIELD, user.get_email_field_name()}
        known = {field.name for field in user._meta.get_fields()}
        return [f"user__{name}" for name in sorted(names & known)]

    @admin.action(description=_("Log out the selected users"), permissions=["change"])
    def log_out(self, request: HttpRequest, selected: QuerySet[DeviceSession]) -> None:
        sessions = selected.exclude(session_id="").select_related("user")
        logged_out, failures = self._log_out(request, (session.user for session in sessions))
        if logged_out:
            text = ngettext("%d user was logged out.", "%d users were logged out.", logged_out)
            self.message_user(request, text % logged_out, messages.SUCCESS)
        if failures:
            text = ngettext(
                "%(count)d session ended, but Idlewild could not be reached; its streams stay open "
                "until you run `manage.py idlewild_register_sessions`: %(error)s",
                "%(count)d sessions ended, but Idlewild could not be reached; their streams stay "
                "open until you run `manage.py idlewild_register_sessions`: %(error)s",
                len(failures),
            )
            values = {"count": len(failures), "error": failures[0]}
            self.message_user(request, text % values, messages.WARNING)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may delete users may delete their sessions, because Django asks for both."""
        user = get_user_model()._meta
        may_delete_users = request.user.has_perm(f"{user.app_label}.delete_{user.model_name}")
        return may_delete_users or super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: DeviceSession) -> None:
        user = obj.user
        super().delete_model(request, obj)
        self._log_out_deleted(request, [user])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[DeviceSession]) -> None:
        users = [session.user for session in queryset.select_related("user")]
        super().delete_queryset(request, queryset)
        self._log_out_deleted(request, users)

    def _log_out_deleted(self, request: HttpRequest, users: Iterable[Model]) -> None:
        failures = self._log_out(request, users)[1]
        if failures:
            # The command does not find a session without its row.
            text = ngettext(
                "%(count)d session was deleted, but Idlewild could not be reached; its streams "
                "stay open: %(error)s",
                "%(count)d sessions were deleted, but Idlewild could not be reached; their streams "
                "stay open: %(error)s",
                len(failures),
            )
            values = {"count": len(failures), "error": failures[0]}
            self.message_user(request, text % values, messages.WARNING)

    def _log_out(self, request: HttpRequest, users: Iterable[Model]) -> tuple[int, list[str]]:
        """Logs users out. Returns how many, and why Idlewild could not be reached for the others.

        Does not wait for a commit, because the page has to report the result.
        """
        logged_out, failures = 0, []
        for user in users:
            try:
                force_logout(user, on_commit=False, fail_silently=False)
            except IdlewildError as error:
                failures.append(str(error))
            except ValueError as error:
                # One user with an empty `USER_ID_FIELD` must not stop the rest.
                self.message_user(request, str(error), messages.ERROR)
            else:
                logged_out += 1
        return logged_out, failures
