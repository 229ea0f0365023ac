"""Logs a user out everywhere after a new password and when the account is deactivated or deleted.

`QuerySet.update()` sends no signal; call `force_logout` after it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_save

from .publish import log_out_on_commit
from .users import has_id

WAS_ACTIVE = "_idlewild_was_active"


def connect() -> None:
    # For all models, because a user may be saved as a proxy or a child of the user model.
    pre_save.connect(_before_save, dispatch_uid="idlewild_django.pre_save")
    post_save.connect(_after_save, dispatch_uid="idlewild_django.post_save")
    # Not for all models here, because Django reads all rows of a model with a receiver before it
    # deletes them. When a child is deleted, its user is deleted as well, which sends a signal.
    user_model = get_user_model()._meta.concrete_model
    for model in apps.get_models():
        if model._meta.concrete_model is user_model:
            uid = f"idlewild_django.post_delete.{model._meta.label}"
            post_delete.connect(_after_delete, sender=model, dispatch_uid=uid)


def _before_save(
    instance: Model, raw: bool, using: str, update_fields: Collection[str] | None, **_: Any
) -> None:
    if raw or not isinstance(instance, get_user_model()):
        return
    # May be left from a failed save.
    instance.__dict__.pop(WAS_ACTIVE, None)
    is_ending = not instance.is_active and _is_saved("is_active", update_fields)
    if not is_ending or instance.pk is None:
        return
    # Reads the whole row, because `is_active` may be a property.
    before = get_user_model()._base_manager.using(using).filter(pk=instance.pk).first()
    setattr(instance, WAS_ACTIVE, before is not None and before.is_active)


def _after_save(
    instance: Model,
    created: bool,
    using: str,
    update_fields: Collection[str] | None,
    **_: Any,
) -> None:
    if not isinstance(instance, get_user_model()):
        return
    was_active = instance.__dict__.pop(WAS_ACTIVE, False)
    if was_active:
        _log_out(instance, "deactivated", using)
    elif not created and _is_saved("password", update_fields) and _has_new_password(instance):
        _log_out(instance, "password_changed", using)


def _after_delete(instance: Model, using: str, **_: Any) -> None:
    _log_out(instance, "deactivated", using)


def _log_out(user: Model, reason: str, using: str) -> None:
    # A user with an empty `USER_ID_FIELD` has no streams. Saving such a user must not fail.
    if has_id(user):
        log_out_on_commit(user, reason, using)


def _has_new_password(user: Model) -> bool:
    # `set_password` sets this attribute until the row is saved. `check_password` removes it when it
    # stores the same password with a newer hasher, which must not log the user out.
    return getattr(user, "_password", None) is not None


def _is_saved(field: str, update_fields: Collection[str] | None) -> bool:
    return update_fields is None or field in update_fields
