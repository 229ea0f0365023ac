from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from idlewild_django import IdlewildError, Rejected, Unauthorized
from idlewild_django.models import DeviceSession
from idlewild_django.sessions import tell_idlewild


class Command(BaseCommand):
    help = "Sends Idlewild the sessions and log-outs that it missed while it was unavailable."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help="send all of them, after Idlewild lost its data"
        )

    def handle(self, **options: Any) -> None:
        rows = DeviceSession.objects.order_by("pk")
        if not options["all"]:
            rows = rows.filter(registered=False)
        sent = failed = 0
        try:
            for pk in rows.values_list("pk", flat=True).iterator():
                if self._tell(pk, again=options["all"]):
                    sent += 1
                else:
                    failed += 1
        except (IdlewildError, ImproperlyConfigured) as error:
            raise CommandError(f"{sent} sent, then: {error}") from error
        if failed:
            raise CommandError(f"{sent} sent, {failed} failed")
        self.stdout.write(f"{sent} sent")

    def _tell(self, pk: Any, *, again: bool) -> bool:
        """Returns False, and prints the reason, if only this user's session cannot be sent."""
        try:
            tell_idlewild(pk, again=again)
        except Unauthorized:
            raise
        except (Rejected, ValueError) as error:
            self.stderr.write(f"user {pk}: {error}")
            return False
        return True
