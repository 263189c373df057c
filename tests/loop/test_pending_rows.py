"""Rows of epochs that nobody waits for come at the next flush, and are the rows that would have come at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import thalweg as tw

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def fit(**options: object) -> tw.History:
    torch.manual_seed(0)
    learner = tw.Learner(nn.Linear(3, 2), optimizer="adam", loss="cross_entropy", seed=0, device="cpu")
    return learner.fit((X, Y), epochs=40, batch_size=10, verbose=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("flush_every", [1, 7, 128, 10_000])
def test_rows_do_not_depend_on_when_they_are_written(flush_every: int) -> None:
    watched, waited = fit(hooks=[tw.Hook()]), fit(flush_every=flush_every)
    assert len(waited.epochs) == 40
    for now, later in zip(watched.epochs, waited.epochs, strict=True):
        assert list(now) == list(later) == ["epoch", "step", "loss", "seconds"]
        assert (now["epoch"], now["step"]) == (later["epoch"], later["step"])
        assert now["loss"] == pytest.approx(later["loss"], rel=1e-12)
    assert watched["loss"].tolist() == waited["loss"].tolist()
