"""Fixtures of the tests of losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

Products = Callable[[], AbstractContextManager[list[tuple[int, int, int]]]]


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_"):
            left, right = args[-2:] if name == "mm" else args[1:3]
            self.shapes.append((left.shape[0], left.shape[1], right.shape[1]))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def products() -> Products:
    """Record the matrix products inside of a block as (rows, inner, columns)."""

    @contextmanager
    def record() -> Iterator[list[tuple[int, int, int]]]:
        with _Recording() as mode:
            yield mode.shapes

    return record
