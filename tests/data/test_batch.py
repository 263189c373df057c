"""What a batch means to a model."""

from __future__ import annotations

from collections import UserDict, namedtuple
from typing import Any

import pytest
import torch

from thalweg.data import split, to_device

Named = namedtuple("Named", ["x", "y"])

MEANINGS = [
    ("x", ("x",), {}, None, None),
    (("x",), ("x",), {}, None, None),
    (("x", "y"), ("x",), {}, "y", None),
    (["x", "y"], ("x",), {}, "y", None),
    (Named("x", "y"), ("x",), {}, "y", None),
    (("x", "y", "w"), ("x",), {}, "y", "w"),
    ((("x1", "x2"), "y"), ("x1", "x2"), {}, "y", None),
    ([["x1", "x2"], "y"], ("x1", "x2"), {}, "y", None),
    (("x", ("y1", "y2")), ("x",), {}, ("y1", "y2"), None),
    (({"a": "x"}, "y"), (), {"a": "x"}, "y", None),
    (({"a": "x"}, "y", "w"), (), {"a": "x"}, "y", "w"),
    ({"a": "x", "labels": "y"}, (), {"a": "x"}, "y", None),
    (UserDict({"a": "x", "labels": "y"}), (), {"a": "x"}, "y", None),
    ({"a": "x"}, (), {"a": "x"}, None, None),
]


@pytest.mark.parametrize(("batch", "args", "kwargs", "target", "row_weight"), MEANINGS)
def test_split(batch: Any, args: Any, kwargs: Any, target: Any, row_weight: Any) -> None:
    parts = split(batch)
    assert (parts.args, parts.kwargs, parts.target, parts.row_weight) == (args, kwargs, target, row_weight)


@pytest.mark.parametrize("batch", [(), ("a", "b", "c", "d")])
def test_a_batch_of_other_parts(batch: Any) -> None:
    with pytest.raises(ValueError, match=rf"a batch of {len(batch)} parts arrived.*\(\(x1, x2\), y\)"):
        split(batch)


class Graph:
    """Something that is no tensor but can be moved."""

    device = "cpu"

    def to(self, device: torch.device) -> Graph:
        moved = Graph()
        moved.device = str(device)
        return moved


def test_to_device_keeps_the_structure_and_moves_what_can_be() -> None:
    batch = (Named(torch.ones(1), [torch.ones(2)]), {"a": torch.ones(3), "name": "b"})
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved[0], Named)
    assert isinstance(moved[0].y, list)
    assert moved[0].x.device == moved[0].y[0].device == moved[1]["a"].device == torch.device("meta")
    assert moved[1]["name"] == "b"
    assert to_device(Graph(), torch.device("meta")).device == "meta"
    assert to_device(batch, None) is batch
