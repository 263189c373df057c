"""Thinning keeps what the eye would see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.draw import thin

SERIES = st.lists(st.one_of(st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf])), min_size=1, max_size=400)


@given(SERIES, st.integers(8, 60))
def test_keeps_ends_extremes_and_gaps(values: list[float], limit: int) -> None:
    array = np.array(values)
    kept = thin(array, limit)
    assert kept.size <= limit or kept.size == array.size <= limit
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == array.size - 1
    shown = array[kept]
    finite = array[np.isfinite(array)]
    if finite.size:
        assert shown[np.isfinite(shown)].min() == finite.min()
        assert shown[np.isfinite(shown)].max() == finite.max()
    first_bad = np.flatnonzero(~np.isfinite(array))[:1]
    assert np.isin(first_bad, kept).all()


@given(SERIES, st.integers(8, 60))
def test_every_bucket_keeps_its_own_extremes(values: list[float], limit: int) -> None:
    array = np.array(values)
    if array.size <= limit:
        assert thin(array, limit).tolist() == list(range(array.size))
        return
    kept = set(thin(array, limit).tolist())
    length = -(-array.size // ((limit - 2) // 3))
    for start in range(0, array.size, length):
        bucket = array[start : start + length]
        inside = [array[place] for place in kept if start <= place < start + length]
        finite = bucket[np.isfinite(bucket)]
        assert not finite.size or {finite.min(), finite.max()} <= set(inside)
        assert np.isfinite(bucket).all() or not np.isfinite(inside).all()


def test_a_million_values() -> None:
    values = np.zeros(1_000_000)
    values[123_457], values[654_321], values[777_000:777_003] = 5.0, -3.0, np.nan
    kept = thin(values)
    assert kept.size <= 5000
    assert np.isin([0, 123_457, 654_321, 777_000, 999_999], kept).all()


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"thin: limit=7 must be >= 8"):
        thin([1.0, 2.0], limit=7)
