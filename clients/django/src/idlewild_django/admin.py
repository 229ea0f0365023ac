"""The admin page of the device sessions, with an action that logs users out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
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
        told, failed = 0, []
        for session in selected.exclude(session_id="").select_related("user"):
            try:
                force_logout(session.user, fail_silently=False)
            except IdlewildError as error:
                failed.append(str(error))
            else:
                told += 1
        if told:
            text = ngettext("%d user was logged out.", "%d users were logged out.", told)
            self.message_user(request, text % told, messages.SUCCESS)
        if failed:
            text = ngettext(
                "%(count)d session ended, but Idlewild could not be told, so its streams stay open "
                "until `manage.py idlewild_register_sessions` tells it: %(error)s",
                "%(count)d sessions ended, but Idlewild could not be told, so their streams stay "
                "open until `manage.py idlewild_register_sessions` tells it: %(error)s",
                len(failed),
            )
            values = {"count": len(failed), "error": failed[0]}
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
        force_logout(user, fail_silently=True)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[DeviceSession]) -> None:
        users = [session.user for session in queryset.select_related("user")]
        super().delete_queryset(request, queryset)
        for user in users:
            force_logout(user, fail_silently=True)
