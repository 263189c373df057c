"""Ranking metrics against brute force; splits are partitions without leakage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recommend.tables import ratings
from thalweg.recommend import (
    Ratings,
    mae,
    ranking_metrics,
    rmse,
    split_folds,
    split_fraction,
    split_leave_one_out,
    split_time,
)


def brute(scores: np.ndarray, relevant: np.ndarray, seen: np.ndarray, k: int) -> dict[str, float]:  # type: ignore[type-arg]
    sums, shown, n = [0.0, 0.0, 0.0], set(), 0
    for row in range(len(scores)):
        items = sorted((i for i in range(scores.shape[1]) if not seen[row, i]), key=lambda i: (-scores[row, i], i))
        wanted = {i for i in items if relevant[row, i]}
        if not wanted:
            continue
        n += 1
        shown |= set(items[:k])
        gain = sum(1 / math.log2(place + 2) for place, i in enumerate(items[:k]) if i in wanted)
        sums[0] += gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
        sums[1] += sum(i in wanted for i in items[:k]) / len(wanted)
        hits = 0
        for place, i in enumerate(items, start=1):
            if i in wanted:
                hits += 1
                sums[2] += hits / place / len(wanted)
    names = (f"ndcg@{k}", f"recall@{k}", "map")
    return {
        **{name: one / n for name, one in zip(names, sums, strict=True)},
        f"coverage@{k}": len(shown) / scores.shape[1],
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 8), st.integers(1, 8))
def test_rankings_equal_brute_force(seed: int, users: int, items: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (users, items)).astype(np.float32)  # with ties
    relevant, seen = rng.random((users, items)) < 0.4, rng.random((users, items)) < 0.3
    k = min(k, items)
    given_tensors = [torch.from_numpy(one) for one in (scores, relevant, seen)]
    if not (relevant & ~seen).any():
        with pytest.raises(ValueError, match="no user has a relevant item among the candidates"):
            ranking_metrics(*given_tensors, k=k)
        return
    assert ranking_metrics(*given_tensors, k=k) == pytest.approx(brute(scores, relevant, seen, k))


def test_errors() -> None:
    a, b = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 3.0])
    assert rmse(a, b) == pytest.approx(math.sqrt(5 / 3))
    assert mae(a, b) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"predictions have the shape \(3,\) and ratings \(2,\)"):
        rmse(a, b[:2])


def test_shapes_of_rankings() -> None:
    with pytest.raises(ValueError, match="must be alike"):
        ranking_metrics(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))


def rows(part: Ratings) -> set[tuple[int, int]]:
    return set(zip(part.users.tolist(), part.items.tolist(), strict=True))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.9), st.integers(0, 99))
def test_a_fraction_is_a_partition(fraction: float, seed: int) -> None:
    whole = ratings(n=200)
    train, test = split_fraction(whole, fraction, seed=seed)
    assert len(test) == round(200 * fraction)
    assert rows(train) | rows(test) == rows(whole)
    assert not rows(train) & rows(test)


def timed() -> Ratings:
    table = {"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 3, 1], "rating": [1, 2, 3, 4, 5], "time": [5, 3, 2, 9, 7]}
    return Ratings.of(table, time="time")


def test_by_time_the_latest_are_held_out() -> None:
    train, test = split_time(timed(), 0.4)
    assert test.values.tolist() == [4.0, 5.0]
    assert train.times is not None
    assert test.times is not None
    assert train.times.max() < test.times.min()


def test_leave_one_out_takes_each_users_last() -> None:
    train, test = split_leave_one_out(timed())
    assert test.values.tolist() == [1.0, 4.0]
    assert len(train) == 3
    untimed = ratings(n=200)
    held = split_leave_one_out(untimed, seed=1)[1]
    assert len(held.users.unique()) == len(held)


def test_folds_cover_everything_once() -> None:
    whole = ratings(n=203)
    tested = [test for _, test in split_folds(whole, 5)]
    assert [len(test) for test in tested] == [41, 41, 40, 41, 40] or sum(map(len, tested)) == 203
    assert set().union(*map(rows, tested)) == rows(whole)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: split_fraction(ratings(n=9), 1.0), "fraction=1.0 must be > 0 and < 1"),
        (lambda: split_fraction(ratings(n=9), 0.01), "leaves 0 for the test"),
        (lambda: split_time(ratings(n=9)), "the ratings have no times"),
        (lambda: list(split_folds(ratings(n=9), [0] * 9)), "all rows are of one fold"),
        (lambda: list(split_folds(ratings(n=9), [0, 1])), r"folds has the shape \(2,\) for 9 ratings"),
        (
            lambda: split_leave_one_out(Ratings.of({"user": [1, 2], "item": [1, 2], "rating": [1, 2]})),
            "no user has two ratings",
        ),
    ],
)
def test_splits_that_cannot_be(call: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()  # type: ignore[operator]
