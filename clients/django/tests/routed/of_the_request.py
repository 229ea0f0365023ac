from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView


class LoginView(TokenObtainPairView):
    def get_serializer_class(self):
        return self.request.version


urlpatterns = [path("login/", LoginView.as_view())]
