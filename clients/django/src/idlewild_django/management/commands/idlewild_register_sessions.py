from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from idlewild_django import IdlewildError, Rejected, Unauthorized
from idlewild_django.models import DeviceSession
from idlewild_django.sessions import tell_idlewild


class Command(BaseCommand):
    help = "Tells Idlewild of the sessions and log-outs it missed while it was away."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help="of every one, after Idlewild lost its memory"
        )

    def handle(self, **options: Any) -> None:
        rows = DeviceSession.objects.order_by("pk")
        if not options["all"]:
            rows = rows.filter(registered=False)
        told = refused = 0
        try:
            for pk in rows.values_list("pk", flat=True).iterator():
                if self._tell(pk, again=options["all"]):
                    told += 1
                else:
                    refused += 1
        except (IdlewildError, ImproperlyConfigured) as error:
            raise CommandError(f"{told} told, then: {error}") from error
        if refused:
            raise CommandError(f"{told} told, {refused} not")
        self.stdout.write(f"{told} told")

    def _tell(self, pk: Any, *, again: bool) -> bool:
        """False, and said, where it is this user that cannot be told of: others can."""
        try:
            tell_idlewild(pk, again=again)
        except Unauthorized:
            raise
        except (Rejected, ValueError) as error:
            self.stderr.write(f"user {pk}: {error}")
            return False
        return True
