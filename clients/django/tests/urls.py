from django.contrib import admin
from django.urls import include, path
from rest_framework.decorators import api_view
from rest_framework.response import Response


@api_view(["GET"])
def me(request):
    return Response({"id": request.user.pk})


urlpatterns = [
    path("api/v1/auth/", include("idlewild_django.urls")),
    path("admin/", admin.site.urls),
    path("me/", me),
]
