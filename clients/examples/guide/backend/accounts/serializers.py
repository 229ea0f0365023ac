"""The input of the account views."""

from django.contrib.auth.password_validation import validate_password
from rest_framework import serializers


class PasswordSerializer(serializers.Serializer):
    """A new password, and the old one as proof."""

    old = serializers.CharField(write_only=True)
    new = serializers.CharField(write_only=True)

    def validate_old(self, old: str) -> str:
        if not self.context["request"].user.check_password(old):
            raise serializers.ValidationError("This is not your password.")
        return old

    def validate_new(self, new: str) -> str:
        validate_password(new, self.context["request"].user)
        return new
