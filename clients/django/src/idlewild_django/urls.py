"""The guide's URLs, with the login of one device per user.

`path("api/v1/auth/", include("idlewild_django.urls"))`. With several devices per user, include
`idlewild_django.stream_urls`, which leave the login to the project.
"""

from importlib.util import find_spec

from django.urls import path

from . import stream_urls

app_name = "idlewild"

urlpatterns = [*stream_urls.urlpatterns]

if find_spec("rest_framework_simplejwt"):
    from .views import LoginView, RefreshView

    urlpatterns += [
        path("login/", LoginView.as_view(), name="login"),
        path("refresh/", RefreshView.as_view(), name="refresh"),
    ]
