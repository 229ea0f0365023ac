"""Users in Django's admin, with an action to log them out everywhere."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from idlewild_django import force_logout

from .models import User


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Django's user admin, with an address instead of a name."""

    ordering = ("email",)
    list_display = ("email", "is_active", "is_staff", "last_login")
    search_fields = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "password1", "password2")}),)
    actions = ("log_out",)

    @admin.action(description="Log out everywhere, at once")
    def log_out(self, request: HttpRequest, users: QuerySet[User]) -> None:
        for user in users:
            force_logout(user, "An administrator has logged you out.", reason="admin")
        self.message_user(request, f"Logged out: {users.count()}")
