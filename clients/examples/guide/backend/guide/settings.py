"""The example's settings. Values that differ between machines come from the environment; `start` sets them."""

import os
from datetime import timedelta
from pathlib import Path

RUN = Path(os.environ.get("GUIDE_RUN", Path(__file__).resolve().parents[2] / ".run"))

# Django's own signatures and the tokens have separate secrets: Idlewild has only that of the tokens.
SECRET_KEY = (RUN / "django.secret").read_text().strip()
TOKEN_SECRET = (RUN / "token.secret").read_text().strip()

DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
# nginx passes the host without its port, so Django would treat its own pages as another origin.
CSRF_TRUSTED_ORIGINS = [os.environ.get("GUIDE_ORIGIN", "http://localhost:8080")]
ROOT_URLCONF = "guide.urls"
WSGI_APPLICATION = "guide.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "idlewild_django",
    "accounts",
    "notifications",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": RUN / "db.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 10},
    }
}

STATIC_URL = "/static/"
STATIC_ROOT = RUN / "static"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["idlewild_django.authentication.SingleDeviceJWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}

SIMPLE_JWT = {
    "SIGNING_KEY": TOKEN_SECRET,
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=int(os.environ.get("GUIDE_TOKEN_SECONDS", "900"))),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
}

IDLEWILD = {
    "URL": os.environ.get("GUIDE_IDLEWILD", f"unix:{RUN / 'admin.sock'}"),
    "API_KEY": (RUN / "api.key").read_text().strip(),
}
