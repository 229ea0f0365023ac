"""The fixture `idlewild_outbox`. pytest finds this module by the package's entry point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .memory import Outbox


@pytest.fixture
def idlewild_outbox() -> Iterator[Outbox]:
    """Uses the memory backend, and returns its empty outbox."""
    # Only here, because the settings of the project are not known when pytest starts.
    from .testing import capture

    with capture() as outbox:
        yield outbox
