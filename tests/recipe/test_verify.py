"""`verify` sees that a run can be gone on with, and names what keeps it from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.recipe.tiny import tiny
from thalweg.recipe import load, verify


class Forgetful(nn.Module):
    """Draws from a generator of its own, which no checkpoint knows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 1)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * (torch.rand(x.shape, generator=self.generator) < 0.5)
        return self.inner(x)


def test_a_recipe_with_dropout_and_accumulation_holds(tmp_path: Path) -> None:
    path = load(tiny()).save(tmp_path / "tiny.toml")
    found = verify(path, steps=100)  # more than there are: half of the six are taken
    assert found.holds
    assert found.steps == 3
    assert found.compared > 20
    assert str(found).endswith("all the same bit for bit")


def test_the_first_tensor_that_differs_is_named(tmp_path: Path) -> None:
    path = load(tiny(model={"name": "tests.recipe.test_verify:Forgetful"})).save(tmp_path / "tiny.toml")
    found = verify(path, steps=2)
    assert not found.holds
    assert found.differing[0] == "model/inner.weight"
    assert found.largest > 0
    assert "a module or data set with a generator of its own" in str(found)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no recipe.toml, so that it is no run"):
        verify(tmp_path)
    path = load(tiny()).save(tmp_path / "tiny.toml")
    with pytest.raises(ValueError, match=r"steps=0 must be >= 1"):
        verify(path, steps=0)
