"""Publishes to Idlewild from Django. README.md shows how; the functions are in `publish`."""

from idlewild import Connection, IdlewildError, Presence, Rejected, Unauthorized, Unavailable

from .publish import (
    abroadcast,
    adisconnect,
    aforce_logout,
    apresence,
    asend_to_topic,
    asend_to_user,
    asend_to_users,
    aset_session,
    broadcast,
    disconnect,
    force_logout,
    presence,
    send_to_topic,
    send_to_user,
    send_to_users,
    set_session,
)

__all__ = [
    "Connection",
    "IdlewildError",
    "Presence",
    "Rejected",
    "Unauthorized",
    "Unavailable",
    "abroadcast",
    "adisconnect",
    "aforce_logout",
    "apresence",
    "asend_to_topic",
    "asend_to_user",
    "asend_to_users",
    "aset_session",
    "broadcast",
    "disconnect",
    "force_logout",
    "presence",
    "send_to_topic",
    "send_to_user",
    "send_to_users",
    "set_session",
]
