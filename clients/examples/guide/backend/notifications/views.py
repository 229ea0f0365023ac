"""Notifications: stored in the database, and sent to connected users."""

from typing import ClassVar

from django.db import transaction
from django.db.models import QuerySet
from idlewild_django import send_to_user
from rest_framework.generics import ListCreateAPIView

from .models import Notification
from .serializers import NotificationSerializer

# The number of notifications that a page shows first.
SHOWN = 50


class NotificationsView(ListCreateAPIView):
    """Lists the user's notifications, newest first, or sends one to another user."""

    serializer_class = NotificationSerializer
    pagination_class: ClassVar[None] = None

    def get_queryset(self) -> QuerySet[Notification]:
        return Notification.objects.filter(recipient=self.request.user).select_related("sender")[:SHOWN]

    @transaction.atomic
    def perform_create(self, serializer: NotificationSerializer) -> None:
        notification = serializer.save(sender=self.request.user)
        # Sent after the commit of this transaction, and never after a rollback.
        send_to_user(
            notification.recipient,
            {"type": "NOTIFICATION", "data": serializer.to_representation(notification)},
        )
