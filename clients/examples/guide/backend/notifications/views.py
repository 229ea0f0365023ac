"""Notifications: kept in the database, and sent to whoever is there."""

from typing import ClassVar

from django.db import transaction
from django.db.models import QuerySet
from idlewild_django import send_to_user
from rest_framework.generics import ListCreateAPIView

from .models import Notification
from .serializers import NotificationSerializer

# What a page shows at first.
SHOWN = 50


class NotificationsView(ListCreateAPIView):
    """Your own, the newest first; or a new one for somebody."""

    serializer_class = NotificationSerializer
    pagination_class: ClassVar[None] = None

    def get_queryset(self) -> QuerySet[Notification]:
        return Notification.objects.filter(recipient=self.request.user).select_related("sender")[:SHOWN]

    @transaction.atomic
    def perform_create(self, serializer: NotificationSerializer) -> None:
        notification = serializer.save(sender=self.request.user)
        # Leaves when this transaction is in the database, and never if it is not.
        send_to_user(
            notification.recipient,
            {"type": "NOTIFICATION", "data": serializer.to_representation(notification)},
        )
