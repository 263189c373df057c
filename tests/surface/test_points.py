"""Every point of a line and a plane is what an independent evaluation gives, whichever way it is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from tests.surface.models import CASES, Case, direction_of, grid, independent, learner_of

# 1e-10 as the requirement says; the sums are of at most 100 rows, so that rounding stays at 1e-15.
TOLERANCE = 1e-10


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("points", [(5, 4), (1, 1), (1, 3)], ids=str)
def test_a_plane_equals_independent_evaluation(case: Case, points: tuple[int, int]) -> None:
    learner, data = learner_of(case), case.data()
    d1, d2 = direction_of(learner.module, 1), direction_of(learner.module, 2)
    found = tw.surface.plane(learner, data, None, d1, d2, points=points, scale=(1.3, 0.7))
    assert found.facts.way.startswith(case.way)
    assert bool(found.facts.reason) == (found.facts.way == "one at a time")
    assert found.values.shape == points
    expected = grid(learner, data, d1, d2, found.alphas, found.betas)
    np.testing.assert_allclose(found.values, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_line_equals_independent_evaluation_and_reaches_both_ends(case: Case) -> None:
    learner, data = learner_of(case), case.data()
    start = {name: param.detach().clone() for name, param in learner.module.named_parameters()}
    end = {name: start[name] + d for name, d in direction_of(learner.module, 4).items()}
    found = tw.surface.line(learner, data, start, end, points=6)
    assert found.alphas[0] == 0.0
    assert found.alphas[-1] == 1.0
    expected = [
        independent(learner, data, {n: start[n] + a * (end[n] - start[n]) for n in start}) for a in found.alphas
    ]
    np.testing.assert_allclose(found.values, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_centre_is_what_evaluate_says(case: Case) -> None:
    learner, data = learner_of(case), case.data()
    found = tw.surface.plane(learner, data, points=3)
    assert (found.alphas[1], found.betas[1]) == (0.0, 0.0)
    np.testing.assert_allclose(found.values[1, 1], learner.evaluate(data)["loss"], rtol=1e-12)


@pytest.mark.parametrize("rows_per_block", [1, 7, 64])
def test_the_blocks_of_rows_do_not_matter(rows_per_block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.surface import evaluate as module

    case = CASES[1]
    learner, data = learner_of(case), case.data()
    whole = tw.surface.plane(learner, data, points=(4, 5))
    choose = module.choose

    def small(*given: object) -> object:
        way = choose(*given)
        way.rows, way.points = rows_per_block, 3
        return way

    monkeypatch.setattr(module, "choose", small)
    np.testing.assert_allclose(tw.surface.plane(learner, data, points=(4, 5)).values, whole.values, rtol=1e-12)


def test_loss_landscapes_shifts_every_other_column_and_ours_does_not() -> None:
    # Two weights; the "loss" is the second one, so that every column of a true plane is the same.
    peer = pytest.importorskip("loss_landscapes")
    metrics = pytest.importorskip("loss_landscapes.metrics")

    class SecondWeight(metrics.Metric):
        def __call__(self, wrapper: Any) -> float:
            return float(wrapper.get_module_parameters().parameters[0][0, 1])

    def at(*weights: float) -> nn.Linear:
        model = nn.Linear(2, 1, bias=False).double()
        nn.init.constant_(model.weight, 0.0)
        model.weight.data[0] = torch.tensor(weights, dtype=torch.float64)
        return model

    theirs = peer.planar_interpolation(at(0, 0), at(4, 0), at(0, 4), SecondWeight(), steps=4, deepcopy_model=True)
    np.testing.assert_allclose(theirs[0], [1, 2, 3, 4])
    np.testing.assert_allclose(theirs[1], [0, 1, 2, 3])

    def second(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output[:, 0]

    learner = tw.compile(at(0, 0), optimizer="sgd", lr=0.1, loss=second)
    data = torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    e1, e2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    ours = tw.surface.plane(learner, data, None, e1, e2, alphas=[0, 1, 2, 3, 4], betas=[0, 1, 2, 3, 4])
    np.testing.assert_array_equal(ours.values, np.tile(np.arange(5.0), (5, 1)))
