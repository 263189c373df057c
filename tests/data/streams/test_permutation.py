"""The keyed permutation: a bijection for every size, uniform, and the same again for the same key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from thalweg.data import KeyedPermutation

SEEDS = st.integers(-(2**70), 2**70)


@settings(max_examples=40)
@given(n=st.one_of(st.integers(1, 300), st.integers(1, 60_000)), seed=SEEDS, epoch=st.integers(0, 10_000))
@example(n=1_000_000, seed=0, epoch=0)
@example(n=999_999, seed=7, epoch=3)
@example(n=1, seed=0, epoch=0)
def test_it_is_a_bijection(n: int, seed: int, epoch: int) -> None:
    order = KeyedPermutation(n, seed, epoch)
    rows = order(np.arange(n))
    assert np.bincount(rows, minlength=n).tolist() == [1] * n
    np.testing.assert_array_equal(order.inverse(rows), np.arange(n))


@settings(max_examples=50)
@given(
    n=st.integers(10**12 - 1000, 10**12 + 1000) | st.sampled_from([2**31, 2**32 + 1, 2**40 - 1, 2**61, 2**62]),
    seed=SEEDS,
    data=st.data(),
)
def test_spots_of_large_sizes_come_back(n: int, seed: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=50, unique=True)))
    order = KeyedPermutation(n, seed, 1)
    rows = order(positions)
    assert rows.min() >= 0
    assert rows.max() < n
    assert len(set(rows.tolist())) == len(positions)
    np.testing.assert_array_equal(order.inverse(rows), positions)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 37])
def test_every_row_is_equally_likely_at_every_position(n: int) -> None:
    """Chi-square of the n × n table of (position, row) over 1,500 keys; p > 1e-4 with keys that are fixed."""
    keys = 1500
    counts = np.zeros((n, n))
    for seed in range(keys):
        counts[np.arange(n), KeyedPermutation(n, seed, seed % 5)(np.arange(n))] += 1
    expected = keys / n
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, (n - 1) ** 2) > 1e-4


def test_pairs_of_neighbours_are_uniform() -> None:
    """What stands beside a row: chi-square over the ordered pairs at positions 0 and 1, n = 6, 3,000 keys."""
    n, keys = 6, 3000
    counts = np.zeros((n, n))
    for seed in range(keys):
        first, second = KeyedPermutation(n, seed, 0)(np.arange(2))
        counts[first, second] += 1
    pairs = counts[~np.eye(n, dtype=bool)]
    assert counts.trace() == 0
    expected = keys / len(pairs)
    assert chi2.sf(((pairs - expected) ** 2 / expected).sum(), len(pairs) - 1) > 1e-4


def test_large_sizes_are_spread_evenly() -> None:
    n = 10**12
    rows = KeyedPermutation(n, 5, 0)(np.arange(100_000))
    counts = np.bincount(rows * 100 // n, minlength=100)
    assert chi2.sf(((counts - 1000.0) ** 2 / 1000.0).sum(), 99) > 1e-4


def test_epochs_and_seeds_differ_and_repeat() -> None:
    positions = np.arange(1000)
    orders = [tuple(KeyedPermutation(1000, seed, epoch)(positions)) for seed in (0, 1, -1, 2**40) for epoch in (0, 1)]
    assert len(set(orders)) == 8
    assert tuple(KeyedPermutation(1000, 1, 1)(positions)) == orders[3]


@pytest.mark.parametrize("n", [0, -1, 2**62 + 1, 1.5, True])
def test_sizes_out_of_range_are_refused(n: object) -> None:
    with pytest.raises(ValueError, match=r"KeyedPermutation: n=.* must be an integer in 1 … 2\*\*62"):
        KeyedPermutation(n, 0, 0)  # type: ignore[arg-type]
