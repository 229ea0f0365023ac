"""The settings of a small project that uses the package."""

import json
import os

from hub_support.server import SECRET

SECRET_KEY = SECRET
DEBUG = True
USE_TZ = True
STATIC_URL = "static/"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "idlewild_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Another database, such as PostgreSQL with row locks, can be given as JSON.
DATABASES = {
    "default": json.loads(os.environ.get("IDLEWILD_TEST_DATABASE", "null"))
    or {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "idlewild_django.authentication.SingleDeviceJWTAuthentication"
    ],
}
IDLEWILD = {"API_KEY": "idw_of-the-tests", "TIMEOUT": 2.0}
