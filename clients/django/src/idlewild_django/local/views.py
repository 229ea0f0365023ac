"""The guide's two streams, under `runserver` and under ASGI. For development only.

These are plain views, because DRF would refuse `Accept: text/event-stream` before a view runs.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress

from django.contrib.auth.decorators import login_not_required
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from ..backends import backend
from ..conf import SETTING, config
from . import topics
from .backend import Local, TooManyConnections
from .credentials import identify
from .shutdown import calls_on_stop
from .stream import Client, LoopStream, ThreadStream

TEST_INTERVAL_S = 2.0
RETRY_AFTER_S = 5


@csrf_exempt
@login_not_required
@require_http_methods(["GET", "OPTIONS"])
def sse_notifications(request: HttpRequest) -> HttpResponseBase:
    local = _local()
    if request.method == "OPTIONS":
        return _with_cors(HttpResponse(status=204))
    identity = identify(request)
    if identity is None:
        return _refusal(401, "Authentication required", ("WWW-Authenticate", "Bearer"))
    heard = topics.allowed(request.GET.getlist("topic"), identity.patterns)
    if heard is None:
        return _refusal(403, "Topic not allowed")
    client = Client(
        identity.user, identity.session, heard, request.META.get("REMOTE_ADDR", "") or ""
    )
    try:
        if _is_asgi(request):
            return _stream(local.open(LoopStream, client))
        return _stream(local.open(ThreadStream, client))
    except TooManyConnections:
        return _refusal(429, "Too many connections", ("Retry-After", str(RETRY_AFTER_S)))


@csrf_exempt
@login_not_required
@require_http_methods(["GET", "OPTIONS"])
def sse_test(request: HttpRequest) -> HttpResponseBase:
    _local()
    if request.method == "OPTIONS":
        return _with_cors(HttpResponse(status=204))
    return _stream(_test_loop() if _is_asgi(request) else _test_thread())


def _local() -> Local:
    local = backend()
    if not isinstance(local, Local):
        raise Http404(f'Idlewild serves the streams; {SETTING}["BACKEND"] is not "local".')
    return local


def _is_asgi(request: HttpRequest) -> bool:
    return isinstance(request, ASGIRequest)


def _test_thread() -> Iterator[str]:
    for number in itertools.count():
        yield _test_frame(number)
        time.sleep(TEST_INTERVAL_S)


async def _test_loop() -> AsyncIterator[str]:
    stopping = asyncio.Event()
    with calls_on_stop(stopping.set):
        for number in itertools.count():
            yield _test_frame(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TEST_INTERVAL_S)
                return


def _test_frame(number: int) -> str:
    return f"data: Test message {number} at {time.strftime('%H:%M:%S')}\n\n"


def _stream(frames: Iterable[str] | AsyncIterable[str]) -> HttpResponseBase:
    response = StreamingHttpResponse(frames, content_type="text/event-stream")
    # Only the server may set `Connection: keep-alive`: PEP 3333 forbids it here, and it makes
    # `runserver` fail.
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    # Keeps GZipMiddleware, which would delay frames, from compressing the body.
    response["Content-Encoding"] = "identity"
    return _with_cors(response)


def _refusal(status: int, reason: str, *headers: tuple[str, str]) -> HttpResponseBase:
    body = f'event: error\ndata: {{"error": "{reason}"}}\n\n'
    response = HttpResponse(body, status=status, content_type="text/event-stream")
    for name, value in headers:
        response[name] = value
    return _with_cors(response)


def _with_cors(response: HttpResponseBase) -> HttpResponseBase:
    origin = config().cors_origin
    response["Access-Control-Allow-Origin"] = origin
    response["Access-Control-Allow-Headers"] = (
        "Authorization, Content-Type, Cache-Control, Last-Event-ID"
    )
    response["Access-Control-Allow-Methods"] = "GET"
    if origin != "*":
        response["Access-Control-Allow-Credentials"] = "true"
    return response
