"""Login and refresh with one device a user. Needs the extra `simplejwt`."""

from django.db import transaction
from django.utils.decorators import method_decorator
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from .serializers import (
    SingleDeviceTokenObtainPairSerializer,
    SingleDeviceTokenRefreshSerializer,
)


# With ATOMIC_REQUESTS the session would be committed only after the answer was made, and Idlewild
# could not be told before the client comes with its token.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class LoginView(TokenObtainPairView):
    """`{"email", "password"}` → `{"access", "refresh", "user": {"id", "email"}}`."""

    serializer_class = SingleDeviceTokenObtainPairSerializer


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class RefreshView(TokenRefreshView):
    """`{"refresh"}` → `{"access"}`."""

    serializer_class = SingleDeviceTokenRefreshSerializer
