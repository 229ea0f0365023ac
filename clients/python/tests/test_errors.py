"""Errors cross processes: Celery and process pools pickle them."""

from __future__ import annotations

import copy
import pickle

import pytest

from idlewild import IdlewildError, Rejected, Unauthorized, Unavailable
from idlewild.settings import InvalidSetting

ERRORS = [
    IdlewildError("x"),
    Unavailable("http://hub: status 503; tried once"),
    Rejected("too_large", "data: 11 bytes"),
    Unauthorized("unauthorized", "no such key"),
    InvalidSetting("url", "7", "a URL"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    "twin",
    [
        *(lambda error, p=p: pickle.loads(pickle.dumps(error, p)) for p in (0, 2, 5)),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_an_error_can_be_pickled_and_copied(error, twin):
    again = twin(error)
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_a_refusal_has_its_code_and_message():
    refused = Rejected("too_large", "data: 11 bytes")
    assert (refused.code, refused.message) == ("too_large", "data: 11 bytes")
    assert str(refused) == "data: 11 bytes (too_large)"
