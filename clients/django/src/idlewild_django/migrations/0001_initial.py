import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="DeviceSession",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="idlewild_session",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
                (
                    "session_id",
                    models.CharField(
                        blank=True,
                        help_text="Empty after a log-out.",
                        max_length=64,
                        verbose_name="session id",
                    ),
                ),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                (
                    "registered",
                    models.BooleanField(
                        default=False,
                        help_text="Whether Idlewild has received this state.",
                        verbose_name="registered",
                    ),
                ),
            ],
            options={
                "verbose_name": "device session",
                "verbose_name_plural": "device sessions",
            },
        ),
    ]
