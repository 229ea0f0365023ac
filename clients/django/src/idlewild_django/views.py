"""Login and refresh with one device per user. Needs the extra `simplejwt`."""

from django.db import transaction
from django.utils.decorators import method_decorator
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from .serializers import (
    SingleDeviceTokenObtainPairSerializer,
    SingleDeviceTokenRefreshSerializer,
)


# With ATOMIC_REQUESTS, a refused login would undo its updates of `registered`, and a login that
# fails after it has reached Idlewild would leave a session there that the database does not have.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class LoginView(TokenObtainPairView):
    """`{"email", "password"}` → `{"access", "refresh", "user": {"id", "email"}}`."""

    serializer_class = SingleDeviceTokenObtainPairSerializer


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class RefreshView(TokenRefreshView):
    """`{"refresh"}` → `{"access"}`."""

    serializer_class = SingleDeviceTokenRefreshSerializer
