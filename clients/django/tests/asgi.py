"""The test project with its own streams, for a server in another process."""

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
settings.IDLEWILD = {
    "BACKEND": "local",
    "JWT_AUTHENTICATION": "rest_framework_simplejwt.authentication.JWTStatelessUserAuthentication",
}
django.setup()
application = get_asgi_application()
