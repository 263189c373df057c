"""What a batch looks like, for whoever draws it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from thalweg.data import Part, describe, load, source

Y = torch.zeros(6, dtype=torch.int64)

KINDS: list[tuple[Any, str, Any]] = [
    (torch.zeros(6, 3, 8, 9), "images", (3, 8, 9)),
    (torch.zeros(6, 1, 8, 8), "images", (1, 8, 8)),
    (torch.zeros(6, 8, 9, dtype=torch.uint8), "images", (1, 8, 9)),
    (torch.zeros(6, 8, 9), "other", None),
    (torch.zeros(6, 7, 8, 9), "other", None),
    (torch.zeros(6, 5), "table", None),
    (torch.zeros(6), "table", None),
    (torch.zeros(6, 5, dtype=torch.int64), "tokens", None),
]


@pytest.mark.parametrize(("x", "kind", "image_shape"), KINDS)
@pytest.mark.parametrize("wrap", [lambda pair: pair, lambda pair: DataLoader(TensorDataset(*pair), batch_size=4)])
def test_kinds(x: torch.Tensor, kind: str, image_shape: Any, wrap: Any) -> None:
    described = describe(source(wrap((x, Y)), batch_size=4), classes=["a", "b"])
    assert (described.kind, described.image_shape, described.classes) == (kind, image_shape, ("a", "b"))
    assert described.parts == (
        Part("x", tuple(x.shape[1:]), str(x.dtype).removeprefix("torch.")),
        Part("y", (), "int64"),
    )


def test_flat_images_are_images_only_where_it_is_said() -> None:
    data = load("digits")
    assert describe(source(data.train)).kind == "table"
    described = describe(source(data.train), classes=data.classes, image_shape=data.image_shape)
    assert (described.kind, described.image_shape, described.classes) == ("images", (1, 8, 8), data.classes)
    with pytest.raises(ValueError, match=r"image_shape=\(1, 9, 9\) has 81 numbers, but a row of shape \(64,\) has 64"):
        describe(source(data.train), image_shape=(1, 9, 9))


def test_columns_have_names() -> None:
    frame = pd.DataFrame({"age": [1.0, 2.0], "height": [1.0, 2.0]})
    assert describe(source((frame, [0, 1]))).feature_names == ("age", "height")
    assert describe(source((frame.to_numpy(), pd.Series([0, 1], name="y")))).feature_names == ()
    assert describe(source((frame.to_numpy(), [0, 1])), feature_names=["a", "b"]).feature_names == ("a", "b")


def test_dicts_and_batches_without_tensors() -> None:
    tokens = {"input_ids": torch.zeros(6, 5, dtype=torch.int64), "labels": Y}
    described = describe(source(tokens))
    assert (described.kind, [part.name for part in described.parts]) == ("tokens", ["input_ids", "labels"])
    assert describe(source([("a", "b"), ("c", "d")])).kind == "other"


def test_no_randomness_is_consumed() -> None:
    loader = DataLoader(TensorDataset(torch.zeros(6, 2), Y), batch_size=4, shuffle=True)
    before = torch.get_rng_state()
    describe(source(loader))
    assert torch.equal(before, torch.get_rng_state())
