"""Changes to a user's account."""

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .serializers import PasswordSerializer


class PasswordView(APIView):
    """Changes the password. idlewild_django notices this and logs out all of the user's devices."""

    def post(self, request: Request) -> Response:
        passwords = PasswordSerializer(data=request.data, context={"request": request})
        passwords.is_valid(raise_exception=True)
        request.user.set_password(passwords.validated_data["new"])
        request.user.save(update_fields=["password"])
        return Response(status=status.HTTP_204_NO_CONTENT)
