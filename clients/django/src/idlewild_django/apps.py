from django.apps import AppConfig


class IdlewildConfig(AppConfig):
    name = "idlewild_django"
    label = "idlewild_django"
    verbose_name = "Idlewild"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers

        checks.register()
        receivers.connect()
