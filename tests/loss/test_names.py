"""Losses and penalties by name and as plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg import loss as tl


def importable(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs()


def rows_of(output: Tensor, target: Tensor) -> Tensor:
    return torch.ones(len(output))


@dataclass(frozen=True)
class Quartic(tl.Elementwise):
    """A user's own loss class."""

    scale: float = 1.0
    activation: tl.Activation = "none"

    def elements(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        values = self.scale * (output - target) ** 4
        return values if reduction == "none" else values.sum()


@pytest.mark.parametrize("name", tl.NAMES)
def test_every_name_makes_its_loss(name: str) -> None:
    loss = tl.make(name)
    assert type(loss) is tl.NAMES[name]
    assert tl.to_dict(loss) == {"name": name}


@pytest.mark.parametrize(("alias", "name"), tl.ALIASES.items())
def test_every_alias_is_a_name(alias: str, name: str) -> None:
    assert tl.make(alias) == tl.make(name)


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        ("huber", {"delta": 0.5}, tl.Huber(delta=0.5)),
        ("cross_entropy", {"class_weight": [1, 2]}, tl.CrossEntropy(class_weight=(1.0, 2.0))),
        ("cross_entropy", {"ignore_index": "none"}, tl.CrossEntropy(ignore_index=None)),
        ("mse", {"reduction": "sum"}, tl.Total(tl.MSE())),
        ("mse", {"reduction": "mean", "activation": "exp"}, tl.MSE(activation="exp")),
        ("torch.nn:MSELoss", {}, tl.MSE()),
        ("torch.nn:CrossEntropyLoss", {"weight": [1.0, 2.0]}, tl.CrossEntropy(class_weight=(1.0, 2.0))),
        ("torch.nn.functional:l1_loss", {}, tl.MAE()),
        (nn.L1Loss(), {}, tl.MAE()),
        (importable, {"weight": "rows", "activation": "sigmoid"}, tl.Custom(importable, "rows", "sigmoid")),
    ],
    ids=lambda thing: re.sub(r" at 0x[0-9a-f]+", "", str(thing)),
)
def test_make(given: Any, options: dict[str, Any], expected: tl.Loss) -> None:
    assert tl.make(given, **options) == expected


@pytest.mark.parametrize(
    ("loss", "data"),
    [
        (tl.CrossEntropy(label_smoothing=0.1), {"name": "cross_entropy", "label_smoothing": 0.1}),
        (tl.CrossEntropy(ignore_index=None), {"name": "cross_entropy", "ignore_index": "none"}),
        (tl.Total(tl.Huber(delta=2.0)), {"name": "huber", "delta": 2.0, "reduction": "sum"}),
        (
            tl.BinaryCrossEntropy(pos_weight=torch.tensor([1.0, 2.0])),
            {"name": "binary_cross_entropy", "pos_weight": [1.0, 2.0]},
        ),
        (
            tl.adapt(nn.PoissonNLLLoss(full=True), activation="none"),
            {"name": "torch.nn:PoissonNLLLoss", "full": True, "activation": "none"},
        ),
        (Quartic(scale=2.0), {"name": f"{__name__}:Quartic", "scale": 2.0}),
        (tl.Total(Quartic()), {"name": f"{__name__}:Quartic", "reduction": "sum"}),
        (tl.Custom(importable), {"name": f"{__name__}:importable"}),
        (
            tl.Custom(importable, rows_of, "sigmoid"),
            {"name": f"{__name__}:importable", "weight": f"{__name__}:rows_of", "activation": "sigmoid"},
        ),
        (tl.MSE(activation=torch.exp), {"name": "mse", "activation": "torch:exp"}),
        (tl.MSE(activation=lambda o: o), None),
    ],
    ids=lambda thing: re.sub(r" at 0x[0-9a-f]+", "", str(thing)),
)
def test_plain_data_and_back(loss: tl.Loss, data: dict[str, Any] | None) -> None:
    if data is None:
        with pytest.raises(ValueError, match="cannot be written down, because it cannot be imported by a name"):
            tl.to_dict(loss)
        return
    assert tl.to_dict(loss) == data
    again = tl.from_dict(data)
    assert again.activation == loss.activation
    assert again == loss or isinstance(loss, tl.TorchLoss)


@pytest.mark.parametrize("fn", [lambda o, y: o, rows_of.__call__], ids=["lambda", "method"])
def test_what_cannot_be_written_down(fn: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot be written down.*define it with def or class in a module of its own"):
        tl.to_dict(tl.Custom(fn))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (
            "cross_entrpy",
            {},
            "loss: unknown loss 'cross_entrpy'. Did you mean 'cross_entropy'? Known: binary_cross_entropy",
        ),
        ("Bce", {"pos_weigth": 2.0}, "loss: unknown loss 'Bce'. Did you mean 'bce'?"),
        ("bce", {"pos_weigth": 2.0}, "loss 'bce': unknown option 'pos_weigth'. Did you mean 'pos_weight'?"),
        ("mse", {"reduction": "none"}, "loss 'mse': reduction='none' must be 'mean' or 'sum'"),
        (
            "torch.nn:SmoothL1Loss",
            {"bta": 1.0},
            "loss 'torch.nn:SmoothL1Loss': unknown option 'bta'. Did you mean 'beta'?",
        ),
        (f"{__name__}:Quartic", {"scal": 2.0}, "unknown option 'scal'. Did you mean 'scale'?"),
        ("torch.nn:Nothing", {}, "loss: 'torch.nn:Nothing' cannot be imported"),
        ("no_such_package:fn", {}, "loss: 'no_such_package:fn' cannot be imported"),
        (nn.MSELoss(), {"delta": 1.0}, "loss: unknown option 'delta'"),
    ],
    ids=lambda thing: re.sub(r" at 0x[0-9a-f]+", "", str(thing)),
)
def test_bad_names_and_options(given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        tl.make(given, **options)


def test_data_without_a_name() -> None:
    with pytest.raises(ValueError, match=r"loss: \{'delta': 1.0\} has no name; add one"):
        tl.from_dict({"delta": 1.0})


def test_penalties() -> None:
    assert tl.make_penalty("l2", wd=0.5) == tl.L2(0.5)
    assert tl.make_penalty(tl.L1(0.5)) == tl.L1(0.5)
    assert tl.to_dict(tl.L2(1e-5)) == {"name": "l2", "wd": 1e-5}
    with pytest.raises(ValueError, match=r"penalty: unknown penalty 'l3'. Known: l1, l2"):
        tl.make_penalty("l3", wd=1.0)
    with pytest.raises(ValueError, match=r"penalty 'l2': unknown option 'weight_decay'"):
        tl.make_penalty("l2", weight_decay=1.0)
    with pytest.raises(ValueError, match=r"penalty 'l2': wd is missing"):
        tl.make_penalty("l2")
    with pytest.raises(TypeError, match=r"penalty: got float, which is not a Penalty"):
        tl.make_penalty(0.1)
