"""A surface cut by an upright plane: the profile is computed, and lies on the surface."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import thalweg as tw
from tests.surface.models import CASES, direction_of, independent, learner_of, rows


class Point(nn.Module):
    """Its output is its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x), -1)


def bowl() -> tuple[tw.Learner, tuple[Tensor, Tensor]]:
    def squared_length(output: Tensor, target: Tensor) -> Tensor:
        return output.square().sum(1)

    learner = tw.compile(Point(), optimizer="sgd", lr=0.1, loss=squared_length)
    return learner, (torch.zeros(1, 1), torch.zeros(1, 1))


E1, E2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def test_the_cut_of_a_bowl_is_a_parabola() -> None:
    learner, data = bowl()
    cut = tw.surface.section(learner, data, None, E1, E2, start=(-1, 1), end=(1, -1), along=101, points=21)
    t = 2 * cut.profile.alphas - 1
    np.testing.assert_allclose(cut.profile.values, 2 * t**2, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(cut.coordinates, np.stack([t, -t], axis=1), atol=1e-15)
    x, y = np.meshgrid(cut.plane.alphas, cut.plane.betas, indexing="ij")
    np.testing.assert_allclose(cut.plane.values, x**2 + y**2, rtol=1e-12, atol=1e-15)
    picture = cut.plot()
    assert isinstance(picture, Figure)
    assert [axes.name for axes in picture.axes] == ["3d", "rectilinear"]
    drawn = picture.axes[1].lines[0]
    np.testing.assert_array_equal(drawn.get_ydata(), cut.profile.values)
    np.testing.assert_array_equal(picture.axes[0].lines[0].get_data_3d()[2], cut.profile.values)


def test_the_profile_equals_independent_evaluation() -> None:
    case = CASES[1]
    learner, data = learner_of(case), case.data()
    d1, d2 = direction_of(learner.module, 1), direction_of(learner.module, 2)
    start, end = (-0.7, 0.2), (0.4, 1.1)
    cut = tw.surface.section(learner, data, None, d1, d2, start=start, end=end, along=7, points=3)
    own = {name: param.detach() for name, param in learner.module.named_parameters()}
    expected = [
        independent(learner, data, {n: own[n] + a * d1[n] + b * d2[n] for n in own}) for a, b in cut.coordinates
    ]
    np.testing.assert_allclose(cut.profile.values, expected, rtol=1e-10)
    assert (tuple(cut.coordinates[0]), tuple(cut.coordinates[-1])) == (start, end)
    assert "the cut from (-0.7, 0.2) to (0.4, 1.1)" in repr(cut)


@pytest.mark.parametrize("name", ["cut.npz", "cut.parquet"])
def test_files_and_figures(name: str, tmp_path: Path) -> None:
    learner, data = bowl()
    cut = tw.surface.section(learner, data, None, E1, E2, start=(-1, 1), end=(1, -0.5), along=9, points=(4, 5))
    again = tw.surface.Section.load(cut.save(tmp_path / name))
    np.testing.assert_array_equal(again.profile.values, cut.profile.values)
    np.testing.assert_array_equal(again.coordinates, cut.coordinates)
    np.testing.assert_array_equal(again.plane.values, cut.plane.values)
    assert (again.start, again.end, again.profile.title) == (cut.start, cut.end, cut.profile.title)
    assert (again.plane.labels, again.plane.facts) == (cut.plane.labels, cut.plane.facts)
    with pytest.raises(ValueError, match="holds a Section; load it with"):
        tw.surface.Plane.load(tmp_path / name)
    written = json.loads(cut.write(tmp_path).read_text())
    drawn = next(trace for trace in written["data"] if trace["type"] == "scatter3d")
    np.testing.assert_allclose(drawn["z"], cut.profile.values, rtol=1e-6)  # seven digits in a report
    assert (tmp_path / "figures" / "surface-section-profile.json").exists()


def test_a_plane_that_was_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, data = bowl()
    kept = tmp_path / "cut.npz"
    module = sys.modules["thalweg.surface.levels"]

    def broken_off(*args: Any, **more: Any) -> Any:
        if len(args[3]) != 49:  # the second level of the plane
            raise KeyboardInterrupt
        return evaluate(*args, **more)

    evaluate = module.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(module, "evaluate", broken_off)
        with pytest.raises(KeyboardInterrupt):
            tw.surface.section(learner, data, None, E1, E2, points=13, along=3, adaptive=True, resume=kept)
    assert kept.exists()
    found = tw.surface.section(learner, data, None, E1, E2, points=13, along=3, adaptive=True, resume=kept)
    np.testing.assert_allclose(found.profile.values, [2.0, 0.0, 2.0], atol=1e-15)
    assert not kept.exists()


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"start": (0, 0), "end": (0, 0)}, ValueError, r"^surface\.section: start and end are the same point"),
        ({"start": (0, 0, 1)}, ValueError, r"^surface\.section: start=\(0, 0, 1\) must be two finite numbers"),
        ({"end": (0, float("nan"))}, ValueError, r"end=\(0, nan\) must be two finite numbers"),
        ({"end": 3}, ValueError, r"end=3 must be two finite numbers"),
        ({"along": 1}, ValueError, r"along=1 is one point, and a profile needs its two ends"),
        ({"along": 0}, ValueError, r"points=0 must be a whole number >= 1"),
        ({"pionts": 3}, TypeError, "pionts"),
    ],
)
def test_bad_input(settings: Any, kind: type[Exception], said: str) -> None:
    learner = tw.compile(nn.Linear(4, 1).double(), optimizer="sgd", lr=0.1, loss="mse")
    with pytest.raises(kind, match=said):
        tw.surface.section(learner, rows(20, kind="numbers"), **settings)
