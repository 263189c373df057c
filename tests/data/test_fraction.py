"""A seeded part set aside for validation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from thalweg.data import MapStyleSource, MemorySource, source, split_fraction, split_rows


@given(n=st.integers(2, 300), fraction=st.floats(0.001, 0.999), seed=st.integers(0, 2**64))
def test_every_row_is_on_one_side(n: int, fraction: float, seed: int) -> None:
    train, valid = split_rows(n, fraction, seed)
    assert sorted(train.tolist() + valid.tolist()) == list(range(n))
    assert len(valid) == min(n - 1, max(1, round(n * fraction)))
    assert train.tolist() == sorted(train.tolist())


def test_the_seed_decides() -> None:
    chosen = [tuple(split_rows(50, 0.2, seed)[1].tolist()) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


DATA = [
    ((torch.arange(10.0), torch.arange(10)), MemorySource),
    ([(float(i), i) for i in range(10)], MapStyleSource),
]


@pytest.mark.parametrize(("data", "kind"), DATA, ids=["memory", "map-style"])
def test_both_parts_are_sources(data: Any, kind: type) -> None:
    train, valid = split_fraction(data, 0.3, seed=1, batch_size=4, drop_last=True)
    assert type(train) is type(valid) is kind
    assert (train.n, valid.n, train.steps_per_epoch, valid.steps_per_epoch) == (7, 3, 1, 1)
    validated = [y for _, ys in valid.batches(0) for y in ys.tolist()]
    assert validated == split_rows(10, 0.3, 1)[1].tolist() == [y for _, ys in valid.batches(1) for y in ys.tolist()]
    trained = {y for epoch in range(20) for _, ys in train.batches(epoch) for y in ys.tolist()}
    assert trained == set(range(10)) - set(validated)


def test_a_source_keeps_its_settings() -> None:
    whole = source(DATA[0][0], batch_size=3, seed=4, shuffle=False, drop_last=True)
    train, valid = split_fraction(whole, 0.2)
    assert isinstance(train, MemorySource)
    assert isinstance(valid, MemorySource)
    assert (train.batch_size, train.seed, train.shuffle, train.drop_last) == (3, 4, False, True)
    assert (valid.batch_size, valid.shuffle, valid.drop_last) == (3, False, False)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_fraction_is_between_0_and_1(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"data.split_fraction: fraction=.* must be > 0 and < 1; give the part"):
        split_fraction(DATA[0][0], fraction)


def test_what_cannot_be_split() -> None:
    with pytest.raises(TypeError, match=r"fraction=0.2 of a loader was asked for.*random_split"):
        split_fraction(DataLoader(TensorDataset(torch.arange(4))), 0.2)
    with pytest.raises(ValueError, match=r"1 row cannot be split"):
        split_fraction(torch.ones(1, 2), 0.5)
