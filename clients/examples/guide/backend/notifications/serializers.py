"""A notification as JSON, the same in the list and in the stream."""

from accounts.models import User
from rest_framework import serializers

from .models import Notification


class NotificationSerializer(serializers.ModelSerializer):
    """Reads `to` and `text`; writes what the page shows."""

    to = serializers.SlugRelatedField(
        source="recipient", slug_field="email", queryset=User.objects.filter(is_active=True), write_only=True
    )
    sender = serializers.SlugRelatedField(slug_field="email", read_only=True)

    class Meta:
        model = Notification
        fields = ("id", "to", "sender", "text", "sent_at")
        read_only_fields = ("id", "sent_at")
