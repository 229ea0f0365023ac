from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from idlewild_django.serializers import (
    TopicsTokenObtainPairSerializer,
    TopicsTokenRefreshSerializer,
)

login = TokenObtainPairView.as_view(serializer_class=TopicsTokenObtainPairSerializer)
refresh = TokenRefreshView.as_view(serializer_class=TopicsTokenRefreshSerializer)

urlpatterns = [path("api/token/", login), path("api/token/refresh/", refresh)]
