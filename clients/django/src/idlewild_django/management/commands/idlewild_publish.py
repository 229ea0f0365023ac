from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from idlewild_django import (
    IdlewildError,
    broadcast,
    send_to_topic,
    send_to_user,
    send_to_users,
)


class Command(BaseCommand):
    help = "Publishes an event to Idlewild and prints its id."

    def add_arguments(self, parser: ArgumentParser) -> None:
        to = parser.add_mutually_exclusive_group(required=True)
        to.add_argument("--user", metavar="ID")
        to.add_argument("--users", metavar="ID,ID", help="comma-separated ids")
        to.add_argument("--topic")
        to.add_argument("--all", action="store_true", help="all connected users")
        parser.add_argument("--event", default="message", help="the event's name")
        parser.add_argument(
            "--data", required=True, help="JSON; anything else is sent as text; - reads stdin"
        )
        parser.add_argument("--id", help="your own id; a repeated id publishes nothing")
        parser.add_argument(
            "--no-persist", action="store_true", help="deliver only to clients connected now"
        )

    def handle(self, **options: Any) -> None:
        data = _data(sys.stdin.read() if options["data"] == "-" else options["data"])
        how: dict[str, Any] = {
            "event": options["event"],
            "id": options["id"],
            "persist": not options["no_persist"],
            "fail_silently": False,
        }
        try:
            if options["all"]:
                ids = [broadcast(data, **how)]
            elif options["topic"]:
                ids = [send_to_topic(options["topic"], data, **how)]
            elif options["users"]:
                users = [each.strip() for each in options["users"].split(",") if each.strip()]
                ids = list(send_to_users(users, data, **how) or ())
            else:
                ids = [send_to_user(options["user"], data, **how)]
        except (IdlewildError, ImproperlyConfigured, ValueError) as error:
            raise CommandError(str(error)) from error
        for id in ids:
            self.stdout.write(str(id))


def _data(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
