"""Members of a race and points of a surface shared out over two gloo processes: the answer of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import thalweg as tw
from tests.loop.test_processes import one_thread, pytestmark, together

__all__ = ["one_thread", "pytestmark"]


def data(n: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, 4, generator=generator)
    return x, x @ torch.randn(4, 1, generator=generator)


def race(**options: Any) -> dict[str, Any]:
    torch.manual_seed(3)
    field = tw.race.grid(["sgd", "adam"], lr=[1e-3, 1e-2, 1e9], seeds=2)
    settings = {"epochs": 4, "batch_size": 16, "stacking": "always", "step": "eager", "verbose": False, **options}
    with tw.spread():
        found = tw.race(nn.Linear(4, 1), data(), data(24), field, **settings)
    return {
        "winner": str(found.winner.rule),
        "ended": [member.ended for member in found.members],
        "steps": [member.step for member in found.members],
        "curves": [member.curve for member in found.members],
        "scores": [member.score("valid") for member in found.members],
        "weights": {number: [t.clone() for t in tree_leaves(w)] for number, w in found.weights.items()},
    }


@pytest.mark.parametrize("halving", [None, 2.0])
def test_a_race_is_won_by_the_same_with_the_same_figures(tmp_path: Path, halving: float | None) -> None:
    alone = race(halving=halving)
    both = together(tmp_path, 2, lambda rank: race(halving=halving))
    assert "diverged" in alone["ended"]
    assert ("left" in alone["ended"]) == (halving is not None)
    for one in both:
        for name in ("winner", "ended", "steps"):
            assert one[name] == alone[name], name
        np.testing.assert_allclose(one["scores"], alone["scores"], rtol=1e-5)
        for mine, theirs in zip(one["curves"], alone["curves"], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4)
        assert one["weights"].keys() == alone["weights"].keys()
        for number, kept in alone["weights"].items():
            for mine, theirs in zip(one["weights"][number], kept, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def surfaces() -> dict[str, Any]:
    torch.manual_seed(5)
    learner = tw.Learner(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)), "adam", "mse", device="cpu")
    with tw.spread():
        line = tw.surface.random_line(learner, data(), points=11, seed=1, progress=False)
        plane = tw.surface.plane(learner, data(), points=7, seed=1, progress=False)
    return {"line": line.values, "plane": plane.values}


def test_a_surface_has_the_same_points(tmp_path: Path) -> None:
    alone = surfaces()
    for one in together(tmp_path, 2, lambda rank: surfaces()):
        for name, values in alone.items():
            np.testing.assert_allclose(one[name], values, rtol=1e-5)


def find() -> dict[str, Any]:
    torch.manual_seed(7)
    module = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    learner = tw.Learner(module, "adam", "mse", seed=1, device="cpu")
    found = learner.lr_find(data(640), batch_size=32, steps=40, verify=False)
    return {"lr": np.array(found.lr), "loss": np.array(found.loss), "suggestion": found.suggestion}


def test_the_finder_sees_in_every_process_what_one_process_sees(tmp_path: Path) -> None:
    alone = find()
    for one in together(tmp_path, 2, lambda rank: find()):
        assert one["suggestion"] == alone["suggestion"]
        np.testing.assert_array_equal(one["loss"], alone["loss"])
        np.testing.assert_array_equal(one["lr"], alone["lr"])


def test_what_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((64, 5), np.float32))

    def refused(rank: int) -> list[str]:
        said = []
        learner = tw.Learner(nn.Linear(4, 1), "sgd", "mse", device="cpu")
        stream = tw.data.stream(str(path), target=[4], batch_size=8)
        calls = (
            lambda: race(resume=tmp_path / "race"),
            lambda: tw.race(nn.Linear(4, 1), data(), None, tw.race.grid("sgd", lr=[0.1]), verbose=False),
            lambda: tw.surface.line(learner, stream, points=5, progress=False),
            lambda: tw.surface.line(learner, data(), points=5, resume=tmp_path / "line.npz", progress=False),
        )
        for call in calls:
            try:
                with tw.spread():
                    call()
            except ValueError as error:
                said.append(str(error))
        return said

    resume, few, shared, partial = together(tmp_path / "a", 2, refused)[0]
    assert "race: resume=" in resume
    assert "2 share this race" in resume
    assert few.startswith("race: 1 candidates do not go round 2 processes")
    assert "the data are shared out over 2 processes already" in shared
    assert "keeps the state of one process, and 2 share the points" in partial


def test_without_asking_nothing_is_shared(tmp_path: Path) -> None:
    """Only the first process computes, and waits for nobody."""

    def work(rank: int) -> Any:
        if rank:
            return None
        learner = tw.Learner(nn.Linear(4, 1), "sgd", "mse", device="cpu")
        return tw.surface.random_line(learner, data(), points=5, seed=1, progress=False).values

    first, second = together(tmp_path, 2, work)
    assert len(first) == 5
    assert second is None
