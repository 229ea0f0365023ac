"""Login and refresh come from idlewild_django; nginx sends requests for the streams to Idlewild."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/auth/", include("idlewild_django.urls")),
    path("api/v1/auth/", include("accounts.urls")),
    path("api/v1/notifications/", include("notifications.urls")),
]
