"""The built-in models against the same layers written by hand, and their refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from thalweg.recipe.models import MLP, ConvNet, LinearModel


def same_parameters(model: nn.Module, reference: nn.Module) -> None:
    """Copy the reference's parameters into the model, in order."""
    ours, theirs = list(model.parameters()), list(reference.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs]
    with torch.no_grad():
        for mine, other in zip(ours, theirs, strict=True):
            mine.copy_(other)


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        (LinearModel(6, 3), nn.Sequential(nn.Flatten(), nn.Linear(6, 3))),
        (LinearModel(6, 3, bias=False), nn.Sequential(nn.Flatten(), nn.Linear(6, 3, bias=False))),
        (MLP(6, 3, hidden=[]), nn.Sequential(nn.Flatten(), nn.Linear(6, 3))),
        (
            MLP(6, 3, hidden=[5, 4], activation="tanh", norm="layer"),
            nn.Sequential(
                nn.Flatten(),
                *(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh()),
                *(nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh()),
                nn.Linear(4, 3),
            ),
        ),
        (
            MLP(6, 3, hidden=[5], activation="gelu", norm="batch"),
            nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Linear(5, 3)),
        ),
    ],
    ids=repr,
)
def test_a_model_on_flat_rows_is_its_layers(model: nn.Module, reference: nn.Module) -> None:
    same_parameters(model, reference)
    x = torch.randn(7, 2, 3)
    torch.testing.assert_close(model(x), reference(x), rtol=0, atol=0)


def test_the_convnet_is_its_layers_and_reshapes_flat_rows() -> None:
    model = ConvNet((2, 9, 8), 3, channels=[4, 5], kernel=5)
    reference = nn.Sequential(
        *(nn.Conv2d(2, 4, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 5, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(5 * 2 * 2, 3),
    )
    same_parameters(model, reference)
    x = torch.randn(7, 2, 9, 8)
    torch.testing.assert_close(model(x), reference(x))
    torch.testing.assert_close(model(x.flatten(1)), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("model", "numbers"), [(MLP(6, 3, hidden=[400], dropout=0.5), 6), (ConvNet((1, 8, 8), 3, dropout=0.5), 64)]
)
def test_dropout_acts_in_training_only(model: nn.Module, numbers: int) -> None:
    x = torch.randn(4, numbers)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: MLP(0, 3), ValueError, r"MLP: inputs=0 must be >= 1"),
        (lambda: MLP(4, True), TypeError, r"MLP: outputs=True must be a whole number, got bool"),
        (lambda: MLP(4, 3, hidden=[8, 0]), ValueError, r"MLP: hidden\[1\]=0 must be >= 1"),
        (lambda: MLP(4, 3, activation="rleu"), ValueError, r"MLP: unknown activation 'rleu'. Did you mean 'relu'\?"),
        (lambda: MLP(4, 3, norm="btach"), ValueError, r"MLP: unknown norm 'btach'. Did you mean 'batch'\?"),
        (lambda: MLP(4, 3, dropout=1.0), ValueError, r"MLP: dropout=1.0 must be >= 0 and < 1"),
        (lambda: LinearModel(4, 0), ValueError, r"LinearModel: outputs=0 must be >= 1"),
        (lambda: ConvNet((28, 28), 3), ValueError, r"image_shape=\[28, 28\] has 2 sizes; give channels, height, width"),
        (lambda: ConvNet((1, 8, 8), 3, kernel=4), ValueError, r"kernel=4 is even and has no middle; choose 3 or 5"),
        (lambda: ConvNet((1, 8, 8), 3, channels=[]), ValueError, r"channels=\[\] leaves no convolution"),
        (lambda: ConvNet((1, 3, 9), 3), ValueError, r"2 blocks halve the image 2 times, and 3×9 has no pixel left"),
    ],
)
def test_sizes_that_cannot_work_are_refused(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()
