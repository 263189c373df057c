"""What cannot work is refused with the project's message, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.optim.cases import BAD


@pytest.mark.parametrize(("ask", "error", "regex"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_refused(ask: Callable[[], Any], error: type[Exception], regex: str) -> None:
    with pytest.raises(error, match=regex):
        ask()
