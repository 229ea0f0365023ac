"""The users of the example."""

from typing import Any

from accounts.models import User
from django.core.management.base import BaseCommand

PASSWORD = "password"


class Command(BaseCommand):
    """Creates missing users; existing ones stay unchanged."""

    help = "Makes user@, friend@ and admin@example.com"

    def handle(self, *args: Any, **options: Any) -> None:
        for email, is_staff in (
            ("user@example.com", False),
            ("friend@example.com", False),
            ("admin@example.com", True),
        ):
            if not User.objects.filter(email=email).exists():
                User.objects.create_user(email, PASSWORD, is_staff=is_staff, is_superuser=is_staff)
