"""What the data say about the sizes of a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from thalweg.loss import make
from thalweg.recipe import Parts
from thalweg.recipe.sizes import sizes_of

X = torch.zeros(6, 2, 3)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 0])


class Samples(Dataset[Any]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return X[index], index % 3


@pytest.mark.parametrize(
    ("parts", "loss", "expected"),
    [
        (Parts("", (X, CLASSES)), "cross_entropy", (6, 3)),
        (Parts("", (X, CLASSES), test=(X, CLASSES + 2)), "cross_entropy", (6, 5)),
        (Parts("", (X, CLASSES), classes=("a", "b", "c", "d")), "cross_entropy", (6, 4)),
        (Parts("", TensorDataset(X, CLASSES)), "cross_entropy", (6, 3)),
        (Parts("", (X, torch.zeros(6, 4))), "cross_entropy", (6, 4)),
        (Parts("", (X, torch.zeros(6, 1))), "mse", (6, 1)),
        (Parts("", (X, torch.zeros(6))), "mse", (6, 1)),
        (Parts("", (X, torch.zeros(6, 2, 2))), "mse", (6, 4)),
        (Parts("", (X, CLASSES.clamp(max=1))), "binary_cross_entropy", (6, 1)),
    ],
)
def test_inputs_and_outputs(parts: Parts, loss: str, expected: tuple[int, int]) -> None:
    sizes = sizes_of(parts, make(loss))
    assert (sizes.inputs, sizes.outputs) == expected


def test_an_image_is_known_by_its_shape_or_by_the_data() -> None:
    assert sizes_of(Parts("", (torch.zeros(6, 3, 8, 8), CLASSES)), make("mse")).image_shape == (3, 8, 8)
    flat = Parts("", (torch.zeros(6, 64), CLASSES), image_shape=(1, 8, 8))
    assert sizes_of(flat, make("cross_entropy")).image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("parts", "size", "match"),
    [
        (
            Parts("", (X, CLASSES)),
            "image_shape",
            r"me: image_shape = 'auto', but a row has the shape \(2, 3\), which is",
        ),
        (
            Parts("", Samples()),
            "outputs",
            r"outputs = 'auto', but the data come in batches, which do not say how many cl",
        ),
        (Parts("", DataLoader(Samples())), "outputs", r"outputs = 'auto', but the data come in batches"),
        (Parts("", ((X, X), CLASSES)), "inputs", r"inputs = 'auto', but the data have not one tensor of inputs; write"),
        (Parts("", X), "outputs", r"outputs = 'auto', but the data have no targets that are one tensor"),
    ],
)
def test_what_the_data_do_not_tell_is_said(parts: Parts, size: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        sizes_of(parts, make("cross_entropy")).get(size, "me")
