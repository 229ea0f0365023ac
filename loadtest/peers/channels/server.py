"""Django Channels with the guide's consumer: the Redis channel layer, as its documentation recommends, and no database.

A client is in the group of its user, as in the guide, and in `all`, so that one `group_send` reaches every client.
Two things cost less than in the guide: the user is read from the token, without a query per connection, and
`POST /publish/` needs no key.
"""

import json
import os
from pathlib import Path
from urllib.parse import parse_qs

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="not used",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[],
    INSTALLED_APPS=["channels", "django.contrib.auth", "django.contrib.contenttypes"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": ["unix://" + os.environ["REDIS_SOCKET"]]},
        }
    },
    SIMPLE_JWT={
        "ALGORITHM": "HS256",
        "SIGNING_KEY": Path(os.environ["SECRET_FILE"]).read_text().rstrip("\r\n"),
        "JTI_CLAIM": None,
    },
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework_simplejwt.exceptions import TokenError  # noqa: E402
from rest_framework_simplejwt.models import TokenUser  # noqa: E402
from rest_framework_simplejwt.tokens import AccessToken  # noqa: E402


class NotificationConsumer(AsyncWebsocketConsumer):
    groups = ["all"]
    user = None

    async def connect(self):
        # Accept first: closing before that answers 403, and the client never receives the code.
        await self.accept()
        self.user = self.get_user()
        if self.user:
            await self.channel_layer.group_add(f"user_{self.user.id}", self.channel_name)
        else:
            await self.close(code=4001)

    def get_user(self):
        query = parse_qs(self.scope["query_string"].decode())
        try:
            return TokenUser(AccessToken(query["token"][0]))
        except (KeyError, TokenError):
            return None

    async def disconnect(self, close_code):
        if self.user:
            await self.channel_layer.group_discard(f"user_{self.user.id}", self.channel_name)

    async def send_notification(self, event):
        await self.send(text_data=json.dumps(event["message"]))


async def publish(request):
    body = json.loads(request.body)
    message = {"type": "send_notification", "message": body["message"]}
    await get_channel_layer().group_send(body["group"], message)
    return HttpResponse(status=202)


urlpatterns = [path("publish/", publish)]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("ws/notifications/", NotificationConsumer.as_asgi())]),
    }
)
