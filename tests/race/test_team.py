"""Stacks of different rules with one forward and backward pass for all are the stacks by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from tests.race.problems import classes, furthest
from thalweg.engine.stacked_objective import StackedObjective
from thalweg.race import Candidate, Halving, runner
from thalweg.race.team import Team


def model() -> nn.Module:
    torch.manual_seed(0)
    # No bias before the norm: its gradient is rounding alone, of which lion would take the sign.
    return nn.Sequential(
        nn.Linear(6, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.2), nn.Linear(7, 3)
    ).double()


FIELD = [
    Candidate({"name": name, "lr": rate}, schedule, clip_norm=limit, seed=seed)
    for name, rates in (("sgd", (0.03, 0.3)), ("adamw", (1e-3, 1e-2)), ("lion", (1e-4, 1e-3)), ("rmsprop", (1e-3,)))
    for rate, schedule, limit in zip(rates, ("cosine", None), (None, 0.5), strict=False)
    for seed in (0, 1)
]


def run(**settings: Any) -> Any:
    given: dict[str, Any] = {"loss": "cross_entropy", "epochs": 9, "batch_size": 32, "verbose": False}
    return tw.race(model(), classes(), classes(60), FIELD, **{**given, "stacking": "always", **settings})


def same(a: Any, b: Any) -> None:
    for one, other in zip(a.members, b.members, strict=True):
        assert (one.ended, one.step) == (other.ended, other.step)
        assert np.allclose(one.curve, other.curve, rtol=1e-11)
        assert np.allclose(one.validations, other.validations, rtol=1e-11)
        assert furthest(a.module(one.number), b.module(other.number)) < 1e-11


def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of stacks whenever some are advanced together."""
    seen: list[int] = []
    advance = Team.advance

    def spy(team: Team, count: int) -> Any:
        seen.append(len(team.stacks))
        return advance(team, count)

    monkeypatch.setattr(Team, "advance", spy)
    return seen


@pytest.mark.parametrize("halving", [None, Halving(2, rungs=3)])
def test_together_and_by_themselves(halving: Halving | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    together = run(halving=halving)
    assert seen[0] == 4
    monkeypatch.setattr(runner, "teams", list)
    seen.clear()
    alone = run(halving=halving)
    assert not seen
    same(together, alone)


def test_a_member_that_diverges_leaves_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = classes()
    field = [Candidate({"name": name, "lr": rate}) for name in ("sgd", "adam") for rate in (1e-2, 1e300)]
    found = tw.race(model(), (x, y), None, field, loss="cross_entropy", epochs=3, batch_size=32, verbose=False)
    monkeypatch.setattr(runner, "teams", list)
    alone = tw.race(model(), (x, y), None, field, loss="cross_entropy", epochs=3, batch_size=32, verbose=False)
    assert [member.ended for member in found.members] == [member.ended for member in alone.members]
    assert "diverged" in {member.ended for member in found.members}
    assert found.members[0].curve == pytest.approx(alone.members[0].curve, rel=1e-11)


def test_where_memory_does_not_suffice_each_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run()
    gradients = StackedObjective.gradients
    calls = [0]

    def scarce(self: StackedObjective, params: Any, *args: Any, **kwargs: Any) -> Any:
        if len(next(iter(params.values()))) > 6:
            calls[0] += 1
            if calls[0] > 3:
                raise torch.OutOfMemoryError("out of memory")
        return gradients(self, params, *args, **kwargs)

    monkeypatch.setattr(StackedObjective, "gradients", scarce)
    found = run()
    assert calls[0] > 3
    same(whole, found)


def test_a_race_that_is_interrupted_amid_a_team_goes_on(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run()
    advance = Team.advance

    def stopped(team: Team, count: int) -> Any:
        if team.step >= 9:
            raise KeyboardInterrupt
        return advance(team, count)

    # The state is written after every block here, as after some time in a longer race.
    monkeypatch.setattr("thalweg.race.storing._EVERY", 0.0)
    monkeypatch.setattr(Team, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(resume=tmp_path / "race")
    monkeypatch.setattr(Team, "advance", advance)
    same(whole, run(resume=tmp_path / "race"))
