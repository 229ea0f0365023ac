"""What a user does with the account, beside logging in."""

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .serializers import PasswordSerializer


class PasswordView(APIView):
    """Changes the password. idlewild_django sees it and logs the user's devices out."""

    def post(self, request: Request) -> Response:
        passwords = PasswordSerializer(data=request.data, context={"request": request})
        passwords.is_valid(raise_exception=True)
        request.user.set_password(passwords.validated_data["new"])
        request.user.save(update_fields=["password"])
        return Response(status=status.HTTP_204_NO_CONTENT)
