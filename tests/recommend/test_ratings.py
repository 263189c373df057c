from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.recommend.tables import table
from thalweg.recommend import Ratings

TWICE = {"user": [1, 1, 2], "item": [5, 5, 5], "rating": [2.0, 4.0, 3.0], "time": [20, 10, 0]}


def test_every_kind_of_table_gives_the_same_ratings() -> None:
    given = table(50)
    made = [Ratings.of(one) for one in (given, pd.DataFrame(given), pa.table(given))]
    for other in made[1:]:
        assert other.users.tolist() == made[0].users.tolist()
        assert other.values.tolist() == made[0].values.tolist()


def test_parts_keep_the_vocabularies_of_the_whole() -> None:
    whole = Ratings.of(table(50))
    part = whole.part(whole.users.new_tensor([0, 3]))
    assert part.user_ids is whole.user_ids
    assert len(part) == 2


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"unknown column 'user'. Did you mean 'usr'\? Known: item, rating, usr"):
        Ratings.of({"usr": [1], "item": [1], "rating": [1]})


@pytest.mark.parametrize(
    ("rating", "kind", "said"),
    [
        ([1.0, np.nan], ValueError, r"column 'rating' is nan in row 1 \(1 such rows in all\)"),
        (["4", "good"], TypeError, "column 'rating' holds 'good' in row 1, which is no number"),
    ],
)
def test_ratings_that_are_no_numbers(rating: list[object], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Ratings.of({"user": [1, 2], "item": [1, 2], "rating": rating})


def test_no_rows_and_no_table() -> None:
    with pytest.raises(ValueError, match="the table has no rows"):
        Ratings.of({"user": [], "item": [], "rating": []})
    with pytest.raises(TypeError, match="got a int, which is no table"):
        Ratings.of(3)


def test_repeated_pairs_are_refused_with_their_rows() -> None:
    with pytest.raises(ValueError, match=r"user 1 rated item 5 2 times \(rows 0, 1\), and 1 rows in all repeat"):
        Ratings.of(TWICE)


@pytest.mark.parametrize(
    ("policy", "time", "values"),
    [("last", None, [4.0, 3.0]), ("last", "time", [2.0, 3.0]), ("mean", None, [3.0, 3.0]), ("keep", None, [2, 4, 3])],
)
def test_the_policy_for_repeated_pairs(policy: str, time: str | None, values: list[float]) -> None:
    assert Ratings.of(TWICE, time=time, duplicates=policy).values.tolist() == values


def test_an_unknown_policy() -> None:
    with pytest.raises(ValueError, match=r"unknown duplicates 'lst'. Did you mean 'last'\?"):
        Ratings.of(TWICE, duplicates="lst")


def test_dates_are_times() -> None:
    days = np.array(["1970-01-02", "1970-01-03"], dtype="datetime64[D]")
    made = Ratings.of({"user": [1, 2], "item": [1, 2], "rating": [1, 2], "when": days}, time="when")
    assert made.times is not None
    assert made.times.tolist() == [86400.0, 2 * 86400.0]


def test_features_may_list_who_has_not_rated() -> None:
    people = {"user": [1, 2, 9], "age": [20.0, 30.0, 40.0], "sex": ["f", "m", "f"]}
    made = Ratings.of({"user": [1, 2], "item": [1, 2], "rating": [1, 2]}, user_features=people)
    assert 9 in made.user_ids
    assert made.user_features is not None
    assert made.user_features.values[0].tolist() == [0.0, 0.0, 0.0]
    assert made.user_features.values[1:, 0].mean().item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ({"user": [1, 1], "age": [1.0, 2.0]}, "user 1 is listed 2 times"),
        ({"user": [1, 2]}, "the table has no column beside 'user'"),
        ({"user": [1, 2], "age": [1.0, np.inf]}, "column 'age' is inf in row 1"),
    ],
)
def test_features_that_cannot_work(people: dict[str, list[float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Ratings.of({"user": [1, 2], "item": [1, 2], "rating": [1, 2]}, user_features=people)


def test_show_batch_shows_titles() -> None:
    shown = str(Ratings.of({"user": ["a"], "item": [3], "rating": [4]}, titles={3: "Heat"}).show_batch())
    assert "Heat" in shown
