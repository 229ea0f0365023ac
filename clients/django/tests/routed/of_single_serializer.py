from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView

from idlewild_django.serializers import SingleDeviceTokenObtainPairSerializer


class Pair(SingleDeviceTokenObtainPairSerializer):
    """With claims of the project."""


urlpatterns = [path("login/", TokenObtainPairView.as_view(serializer_class=Pair))]
