"""What both clients share: settings, the arguments of httpx, and reading a response."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx

from .attempts import RETRIED_STATUSES, Attempts
from .errors import Rejected, Unauthorized, Unavailable
from .events import Event, Format
from .operations import Publish, Request
from .settings import DEFAULT_URL, Settings, api_key_of


class Base:
    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout: float = Settings.timeout,
        total_timeout: float = Settings.total_timeout,
        retries: int = Settings.retries,
        pool_size: int = Settings.pool_size,
        max_data_bytes: int = Settings.max_data_bytes,
        encoder: type[json.JSONEncoder] = json.JSONEncoder,
        user_agent: str = Settings.user_agent,
    ) -> None:
        self._settings = Settings(
            url=url,
            api_key=api_key_of() if api_key is None else api_key,
            timeout=timeout,
            total_timeout=total_timeout,
            retries=retries,
            pool_size=pool_size,
            max_data_bytes=max_data_bytes,
            user_agent=user_agent,
        )
        if not self._settings.api_key:
            raise ValueError(
                "api_key is missing: pass it, or set IDLEWILD_API_KEY; "
                "`idlewild token api-key` makes one"
            )
        self._format = Format(encoder=encoder, max_data_bytes=max_data_bytes)
        # Reads the system's certificate authorities once, because that takes longer than a request.
        self._ssl = ssl.create_default_context()
        self._start()

    def _start(self) -> None:
        """Sets up the client's connections."""
        raise NotImplementedError

    def _event(
        self, to: dict[str, Any], data: Any, name: str, id: str | None, persist: bool
    ) -> Publish:
        return Publish(Event.new(to, data, name, id, persist, self._format))

    def _transport(self) -> dict[str, Any]:
        """The arguments of httpx's transport.

        An explicit transport, so that the client ignores proxies in the environment. They are for
        external hosts, and the admin listener is internal.
        """
        size = self._settings.pool_size
        return {
            "uds": self._settings.socket_path,
            "verify": self._ssl,
            "limits": httpx.Limits(max_connections=size, max_keepalive_connections=size),
        }

    def _defaults(self) -> dict[str, Any]:
        """The arguments of httpx's client."""
        return {
            "base_url": self._settings.base_url,
            "headers": {
                "Authorization": f"Bearer {self._settings.api_key}",
                "Content-Type": "application/json",
                "User-Agent": self._settings.user_agent,
            },
        }


def arguments(request: Request, attempts: Attempts) -> dict[str, Any]:
    """The arguments of one attempt."""
    return {
        "method": request.method,
        "url": request.path,
        "content": request.body,
        "timeout": attempts.timeout(),
    }


# Idlewild's only reason for 429: too many wrong keys. A retry with the same key cannot succeed.
THROTTLED = "too_many_requests"


def may_succeed_later(response: httpx.Response) -> bool:
    """Whether to send the same request again."""
    code, _ = _error(_json(response)) or ("", "")
    return response.status_code in RETRIED_STATUSES and code != THROTTLED


def read(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a successful response. Raises the error of any other."""
    answer = _json(response)
    if response.is_success and isinstance(answer, dict):
        return answer
    code, message = _error(answer) or (
        "unknown",
        f"status {response.status_code} from {response.url}, not Idlewild's JSON",
    )
    if response.status_code in (401, 403) or code == THROTTLED:
        raise Unauthorized(code, message)
    if response.is_client_error:
        raise Rejected(code, message)
    raise Unavailable(f"status {response.status_code}: {message}")


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _error(answer: Any) -> tuple[str, str] | None:
    """The code and the message of Idlewild's JSON for an error."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return None
    return str(error.get("code", "unknown")), str(error.get("message", ""))
