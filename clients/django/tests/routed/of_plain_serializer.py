from django.urls import include, path
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.views import TokenObtainPairView


class Pair(TokenObtainPairSerializer):
    """With claims of the project."""


class LoginView(TokenObtainPairView):
    serializer_class = Pair


api = [path("login/", LoginView.as_view())]
urlpatterns = [path("api/", include(api))]
