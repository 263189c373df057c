"""Directions: filter normalisation by the paper's definition, drawn numbers, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.surface.models import CASES, learner_of, rows
from thalweg.surface import filter_normalised, random_direction


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.LayerNorm(5),
        nn.Linear(5, 3),
    ).double()


def test_filter_normalisation_is_the_papers_definition_layer_by_layer() -> None:
    # Li et al. 2018, section 4: d_ij <- d_ij / |d_ij| * |theta_ij|; a filter of a linear layer is a neuron's weights;
    # biases and the parameters of normalisation layers do not move.
    model = convnet()
    center = {name: param.detach() for name, param in model.named_parameters()}
    drawn = random_direction(center, seed=5)
    found = filter_normalised(drawn, center)
    moved = 0
    for path, layer in model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            d, theta, raw = found[f"{path}.weight"], layer.weight.detach(), drawn[f"{path}.weight"]
            for j in range(len(theta)):
                expected = raw[j] / raw[j].pow(2).sum().sqrt() * theta[j].pow(2).sum().sqrt()
                torch.testing.assert_close(d[j], expected, rtol=1e-14, atol=0)
                moved += 1
        for name, _ in layer.named_parameters(recurse=False):
            if name == "bias" or not isinstance(layer, (nn.Conv2d, nn.Linear)):
                assert not found[f"{path}.{name}"].any()
    assert moved == 4 + 5 + 3


def test_a_plane_uses_filter_normalised_directions() -> None:
    case = next(case for case in CASES if case.name == "mlp, penalty")
    learner, data = learner_of(case), case.data()
    center = {name: param.detach() for name, param in learner.module.named_parameters()}
    d1 = filter_normalised(random_direction(center, 3), center)
    by_name = tw.surface.plane(learner, data, points=3, seed=3)
    by_hand = tw.surface.line(learner, data, direction=d1, points=3)
    assert by_name.values[:, 1].tolist() == pytest.approx(by_hand.values.tolist(), rel=1e-12)


@pytest.mark.parametrize("how", ["layer", "unit"])
def test_other_normalisations(how: str) -> None:
    from thalweg.surface.direction import normalised

    center = {name: param.detach() for name, param in convnet().named_parameters()}
    found = normalised("test", random_direction(center, 1), center, how)
    if how == "unit":
        assert sum(float(d.pow(2).sum()) for d in found.values()) == pytest.approx(1.0)
    else:
        assert all(float(found[n].norm()) == pytest.approx(float(center[n].norm())) for n in center)


def test_frozen_parameters_do_not_move_and_the_generator_stays() -> None:
    case = CASES[1]
    learner, data = learner_of(case), case.data()
    learner.module[0].requires_grad_(False)
    state = torch.get_rng_state()
    land = tw.surface.landscape("test", learner, data)
    drawn = random_direction(land.params, 0, land.trains)
    assert not drawn["0.weight"].any()
    assert drawn["2.weight"].any()
    assert torch.equal(state, torch.get_rng_state())
    again = random_direction(land.params, 0, land.trains)
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)


def test_an_orthogonal_second_direction() -> None:
    from thalweg.surface.named_directions import two_directions
    from thalweg.surface.weights import flat

    case = CASES[1]
    land = tw.surface.landscape("test", learner_of(case), case.data())
    (a, b), _ = two_directions(
        "test", land, land.params, land.buffers, "random", None, normalize="filter", seed=0, orthogonal=True
    )
    assert abs(float(flat(a) @ flat(b))) < 1e-12 * float(flat(a).norm() * flat(b).norm())


def linear() -> tw.Learner:
    return tw.compile(nn.Linear(4, 1).double(), optimizer="sgd", lr=0.1, loss="mse")


ZERO = {"weight": torch.zeros(1, 4), "bias": torch.zeros(1)}
ONE = {"weight": torch.ones(1, 4), "bias": torch.ones(1)}


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (
            lambda own, d: tw.surface.plane(own, d, None, torch.ones(4)),
            ValueError,
            r"d1 has the shape \(4,\), but the model has 5",
        ),
        (
            lambda own, d: tw.surface.plane(own, d, None, {"weight": torch.ones(1, 3), "bias": torch.ones(1)}),
            ValueError,
            r"'weight' with the shape \(1, 3\), the model's is \(1, 4\)",
        ),
        (lambda own, d: tw.surface.plane(own, d, None, {"wieght": torch.ones(1, 4)}), ValueError, "d1 has no 'weight'"),
        (lambda own, d: tw.surface.plane(own, d, None, ZERO), ValueError, "d1 has length zero"),
        (
            lambda own, d: tw.surface.plane(own, d, None, ONE, torch.full((5,), 3.0)),
            ValueError,
            "d1 and d2 are parallel",
        ),
        (
            lambda own, d: tw.surface.plane(own, d, None, torch.full((5,), float("nan"))),
            ValueError,
            "d1 holds values in 'weight' that are NaN",
        ),
        (
            lambda own, d: tw.surface.plane(own, d, None, "tpo"),
            ValueError,
            r"unknown direction 'tpo'. Did you mean 'top'",
        ),
        (lambda own, d: tw.surface.plane(own, d, normalize="fitler"), ValueError, "Did you mean 'filter'"),
        (lambda own, d: tw.surface.plane(own, d, batch_norm="fresh"), ValueError, "unknown batch_norm 'fresh'"),
        (lambda own, d: tw.surface.plane(own, d, points=0), ValueError, "points=0 must be a whole number >= 1"),
        (lambda own, d: tw.surface.plane(own, d, scale=-1.0), ValueError, r"scale=-1.0 must be > 0"),
        (lambda own, d: tw.surface.plane(own, d, scale=(1.0, 2.0, 3.0)), ValueError, "one number, or two"),
        (
            lambda own, d: tw.surface.plane(own, d, alphas=[1.0, 0.0]),
            ValueError,
            "alphas must be finite numbers in rising",
        ),
        (lambda own, d: tw.surface.plane(own, d, adaptive=2.0), ValueError, "adaptive=2.0 must be > 0 and < 1"),
        (lambda own, d: tw.surface.plane(own, d, center=3), TypeError, "center is a int, which is no point"),
        (lambda own, d: tw.surface.plane(own, d).plot("2d"), ValueError, "unknown kind '2d'"),
        (lambda own, d: tw.surface.line(own, d, ONE, ONE), ValueError, "start and end are the same point"),
        (lambda own, d: tw.surface.line(own, d, ONE, ZERO, direction=ONE), ValueError, "give one of them"),
        (lambda own, d: tw.surface.line(own, d, batches=0), ValueError, "batches=0 must be a whole number >= 1"),
        (
            lambda own, d: tw.surface.plane(own.module, d),
            TypeError,
            r"A model alone does not say what its loss is: tw.compile",
        ),
        (lambda own, d: tw.surface.plane(own, (d[0], d[0][:, :2])), ValueError, "output has shape"),
        (lambda own, d: tw.surface.plane(own, d[0]), ValueError, "the data have no targets"),
        (lambda own, d: tw.surface.plane(own, (d[0][:, :3], d[1])), ValueError, "cannot take the data"),
        (lambda own, d: tw.surface.trajectory(own, d, []), ValueError, "the trajectory has 0 points"),
        (lambda own, d: tw.surface.trajectory(own, d, [ONE]), ValueError, "the trajectory has 1 point, a path"),
        (lambda own, d: tw.surface.trajectory(own, d, [ONE, ONE]), ValueError, "are the same"),
        (
            lambda own, d: tw.surface.trajectory(
                own, d, [torch.ones(5), torch.full((5,), float("nan")), torch.zeros(5)]
            ),
            ValueError,
            r"^surface\.trajectory: the trajectory's point at 1 holds weights that are NaN or infinite",
        ),
        (lambda own, d: tw.surface.trajectory(own, d, tw.surface.PathRecorder()), ValueError, "has 0 points"),
        (lambda own, d: tw.surface.line(own, d, nn.Linear(3, 1)), ValueError, "start holds 'weight'"),
    ],
)
def test_bad_input(call: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        call(linear(), rows(20, kind="numbers"))


def test_a_run_without_checkpoints_and_unequal_checkpoints(tmp_path: Path) -> None:
    learner, data = linear(), rows(20, kind="numbers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no checkpoint"):
        tw.surface.trajectory(learner, data, tmp_path / "empty")
    other = tw.compile(nn.Linear(3, 1).double(), optimizer="sgd", lr=0.1, loss="mse", seed=0)
    other.fit((data[0][:, :3], data[1]), run_dir=tmp_path / "run", verbose=False)
    with pytest.raises(ValueError, match=r"with the shape \(1, 3\)"):
        tw.surface.trajectory(learner, data, tmp_path / "run")


class Noisy(nn.Module):
    """Random also in evaluation mode."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.a, self.always = nn.Linear(4, 1), always

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.a(x), 0.5, training=self.always or self.training)


def test_a_stochastic_model() -> None:
    data = rows(50, kind="numbers")
    learner = tw.compile(Noisy(True).double(), optimizer="sgd", lr=0.1, loss="mse")
    with pytest.raises(ValueError, match="gives different outputs for the same rows in evaluation mode"):
        tw.surface.plane(learner, data)
    learner = tw.compile(Noisy(False).double(), optimizer="sgd", lr=0.1, loss="mse")
    learner.module.train()
    found = tw.surface.plane(learner, data, points=1)
    assert found.values[0, 0] == pytest.approx(learner.evaluate(data)["loss"], rel=1e-12)
