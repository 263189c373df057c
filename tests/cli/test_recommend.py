"""thalweg recommend: learn from a file, recommend, list, show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from tests.recommend.tables import table

Thalweg = Callable[..., Ended]


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    given = table(800)
    lines = ["user,item,rating", *(f"{u},{i},{r}" for u, i, r in zip(*given.values(), strict=True))]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_fit_and_ask(thalweg: Thalweg, ratings: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "model")
    ended = thalweg("recommend", "fit", str(ratings), "--out", model, "--factors", "4", "--quiet")
    assert (ended.status, ended.out.strip()) == (0, model)
    listed = thalweg("recommend", "for", model, "--user", "1000", "-n", "3")
    assert listed.status == 0
    assert len(listed.out.splitlines()) == 5
    stranger = thalweg("recommend", "for", model, "--user", "3")
    assert stranger.status == 0
    assert "user 3 has rated nothing, so these are for the average user" in stranger.err
    assert thalweg("recommend", "similar", model, "--item", "5").status == 0
    assert "liked beyond their factors" in thalweg("recommend", "show", model, "--at-least", "1").out
    wrong = thalweg("recommend", "for", model, "--user", "ann")
    assert wrong.status == 2
    assert wrong.err.startswith("recommend: the user ids of the model are whole numbers, and 'ann' is none")


def test_a_file_that_is_not_there(thalweg: Thalweg) -> None:
    ended = thalweg("recommend", "fit", "no.csv", "--out", "model")
    assert ended.status == 2
    assert ended.err.startswith("recommend.read_ratings: no.csv is not there")
