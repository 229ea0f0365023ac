"""Notifications between users."""

from django.conf import settings
from django.db import models


class Notification(models.Model):
    """A text from one user to another."""

    recipient = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="notifications")
    sender = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    text = models.CharField(max_length=500)
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=("recipient", "-id")),)

    def __str__(self) -> str:
        return self.text
