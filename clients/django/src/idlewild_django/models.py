from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class DeviceSession(models.Model):
    """The current session of a user. Tokens of other sessions are refused."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="idlewild_session",
        verbose_name=_("user"),
    )
    session_id = models.CharField(
        _("session id"), max_length=64, blank=True, help_text=_("Empty after a log-out.")
    )
    started_at = models.DateTimeField(_("started at"))
    registered = models.BooleanField(
        _("registered"), default=False, help_text=_("Whether Idlewild has received this state.")
    )

    class Meta:
        verbose_name = _("device session")
        verbose_name_plural = _("device sessions")

    def __str__(self) -> str:
        state = self.session_id or "logged out"
        return f"{self.user_id}: {state}"
