"""Surfaces and eigenvalues against closed forms and dense matrices."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

import thalweg as tw
from tests.surface.models import CASES, learner_of, rows
from thalweg.surface import Hessian, eigenpairs, landscape


def least_squares(n: int = 500, features: int = 10) -> tuple[tw.Learner, tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(n, features, generator=g, dtype=torch.float64) * torch.logspace(-0.5, 0.5, features)
    y = x @ torch.randn(features, 1, generator=g, dtype=torch.float64)
    model = nn.Linear(features, 1, bias=False).double()
    return tw.compile(model, optimizer="sgd", lr=0.05, loss="mse"), (x, y)


def test_the_surface_of_least_squares_is_the_closed_form_quadratic() -> None:
    learner, (x, y) = least_squares()
    d1, d2 = torch.randn(10, dtype=torch.float64), torch.randn(10, dtype=torch.float64)
    found = tw.surface.plane(learner, (x, y), None, d1, d2, points=(7, 4), scale=2.0)
    hessian = 2 * x.T @ x / len(x)
    w = learner.module.weight.detach()[0]
    best = torch.linalg.lstsq(x, y).solution[:, 0]
    floor = float(((x @ best - y[:, 0]) ** 2).mean())
    for i, a in enumerate(found.alphas):
        for j, b in enumerate(found.betas):
            away = w + a * d1 + b * d2 - best
            expected = floor + 0.5 * float(away @ hessian @ away)
            assert found.values[i, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("block", [1, 3])
def test_eigenvalues_of_least_squares_are_those_of_its_matrix(block: int) -> None:
    learner, (x, y) = least_squares()
    found = tw.surface.curvature(learner, (x, y), largest=4, smallest=3, block=block, tol=1e-10)
    expected = torch.linalg.eigvalsh(2 * x.T @ x / len(x)).numpy()
    np.testing.assert_allclose(found.largest, expected[::-1][:4], rtol=1e-6)
    np.testing.assert_allclose(found.smallest, expected[:3], rtol=1e-6)
    assert found.converged
    assert found.edge == 40.0
    assert "2/lr=40" in repr(found)


def dense_hessian(learner: tw.Learner, data: Any) -> Tensor:
    params = {name: param.detach() for name, param in learner.module.named_parameters()}
    sizes = [param.numel() for param in params.values()]
    parts = tw.data.split(data)
    learner.module.eval()

    def loss(vector: Tensor) -> Tensor:
        pieces = torch.split(vector, sizes)
        held = {name: piece.reshape(p.shape) for (name, p), piece in zip(params.items(), pieces, strict=True)}
        output = functional_call(learner.module, held, parts.args)
        total, weight = learner.loss(output, parts.target, parts.row_weight)
        value = total / weight
        return value if learner.penalty is None else value + learner.penalty(held)

    return torch.autograd.functional.hessian(loss, torch.cat([p.reshape(-1) for p in params.values()]))


@pytest.mark.parametrize("name", ["mlp, penalty", "batch norm", "layer norm", "mlp, row weights"])
def test_eigenvalues_and_trace_are_those_of_the_dense_hessian(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    learner, data = learner_of(case), case.data()
    learner.module.eval()
    dense = dense_hessian(learner, data)
    expected = torch.linalg.eigvalsh(dense)
    found = tw.surface.curvature(learner, data, largest=3, smallest=2, trace=200, tol=1e-9)
    np.testing.assert_allclose(found.largest, expected.flip(0)[:3], rtol=1e-6)
    np.testing.assert_allclose(found.smallest, expected[:2], rtol=1e-6, atol=1e-9)
    assert abs(found.trace - float(expected.sum())) < 4 * found.trace_error
    for value, vector in zip([*found.largest, *found.smallest], found.vectors, strict=True):
        flat = torch.cat([tensor.reshape(-1) for tensor in vector.values()])
        assert float((dense @ flat - value * flat).norm()) < 1e-6 * float(expected.abs().max())


def test_the_graph_that_is_not_kept_gives_the_same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.surface import hessian as module

    case = CASES[1]
    learner, data = learner_of(case), case.data()
    land = landscape("test", learner, data)
    v = torch.randn(2, land.size, dtype=torch.float64)
    with Hessian(land, land.params, land.buffers) as kept:
        expected = kept @ v
    monkeypatch.setattr(module, "_KEPT", 0)
    monkeypatch.setattr(module, "_ROWS", 17)
    with Hessian(land, land.params, land.buffers) as anew:
        np.testing.assert_allclose(anew @ v, expected, rtol=1e-10, atol=1e-12)


class Matrix:
    """A dense matrix as an operator."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.size = matrix, len(matrix)

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    def __matmul__(self, vectors: Tensor) -> Tensor:
        return vectors @ self.matrix


@given(
    n=st.integers(1, 30),
    k=st.integers(1, 4),
    block=st.integers(1, 3),
    seed=st.integers(0, 1000),
    end=st.sampled_from(["largest", "smallest"]),
    multiple=st.booleans(),
)
def test_lanczos_finds_the_outer_eigenvalues(n: int, k: int, block: int, seed: int, end: Any, multiple: bool) -> None:
    k, block = min(k, n), min(block, n)
    g = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))
    values = torch.randn(n, generator=g, dtype=torch.float64)
    if multiple:
        values = values.round()
    matrix = q @ torch.diag(values) @ q.T
    found = eigenpairs(Matrix(0.5 * (matrix + matrix.T)), k, end, tol=1e-9, block=block, basis=8)
    order = values.sort(descending=end == "largest").values
    if not multiple:
        np.testing.assert_allclose(found.values, order[:k], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.values[0], order[0], rtol=1e-6, atol=1e-7)
    assert all((a >= b - 1e-9) if end == "largest" else (a <= b + 1e-9) for a, b in pairwise(found.values.tolist()))
    away = found.vectors @ matrix - found.values[:, None] * found.vectors
    scale = float(values.abs().max())
    assert float(away.norm(dim=1).max()) <= 1e-7 * max(scale, 1e-12) + 1e-12


def test_a_block_finds_an_eigenvalue_as_often_as_it_is_there() -> None:
    values = torch.tensor([5.0, 5.0, 5.0, 2.0, 1.0, 0.5, 0.1, 0.0, 0.0, -1.0], dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64))
    found = eigenpairs(Matrix(q @ torch.diag(values) @ q.T), 4, "largest", block=3, tol=1e-10)
    np.testing.assert_allclose(found.values, [5.0, 5.0, 5.0, 2.0], rtol=1e-8)


def test_the_noise_scale_is_that_of_the_samples_gradients() -> None:
    learner, (x, y) = least_squares(n=4000)
    y = y + torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    w = learner.module.weight.detach()
    samples = 2 * (x @ w.T - y) * x
    mean = samples.mean(0)
    expected = float(((samples - mean) ** 2).sum(1).mean() / (mean**2).sum())
    found = tw.surface.curvature(learner, (x, y), largest=0, smallest=0, noise_batches=200, batch_size=20)
    # tr Σ from 200 batches: a relative standard error of about sqrt(2 / 199 / effective dimensions) < 0.1.
    assert found.noise_scale == pytest.approx(expected, rel=0.2)


def test_the_negative_direction_is_where_a_line_is_not_convex() -> None:
    case = next(case for case in CASES if case.name == "mlp, penalty")
    learner, data = learner_of(case), case.data()
    found = tw.surface.curvature(learner, data, smallest=1, tol=1e-8)
    assert found.smallest[0] < 0
    bent = tw.surface.line(learner, data, direction=found.vectors[-1], alphas=np.linspace(-0.2, 0.2, 21))
    second = np.diff(bent.values, 2) / 0.02**2
    assert second[9] == pytest.approx(found.smallest[0], rel=0.05)
    learner, data = least_squares()
    assert tw.surface.random_line(learner, data, points=31).nonconvexity() == pytest.approx(0.0, abs=1e-9)


def test_the_height_above_the_hull_is_the_definition() -> None:
    facts = tw.surface.Facts("", "", 1, 1, 1, 0.0, "none", 1)
    line = tw.surface.Line(np.arange(5.0), np.array([0.0, 3.0, 1.0, np.nan, 3.0]), "", "", facts)
    assert line.nonconvexity() == pytest.approx(2.5)  # the hull at 1 is halfway between 0 and 1


def test_eigenvector_and_gradient_planes() -> None:
    learner, (x, y) = least_squares()
    hessian = 2 * x.T @ x / len(x)
    _, vectors = torch.linalg.eigh(hessian)
    found = tw.surface.plane(learner, (x, y), None, "top", "bottom", points=3, normalize="none")
    assert found.labels == ("α (largest curvature)", "β (smallest curvature)")
    for axis, vector, value in ((0, vectors[:, -1], 1.0), (1, vectors[:, 0], 1.0)):
        base = found.values[1, 1]
        row = found.values[:, 1] if axis == 0 else found.values[1, :]
        assert row[0] + row[2] - 2 * base == pytest.approx(value * float(vector @ hessian @ vector), rel=1e-3, abs=1e-5)
    sloped = tw.surface.plane(learner, (x, y), None, "gradient", points=3, normalize="none")
    w = learner.module.weight.detach()
    gradient = (2 * x.T @ (x @ w.T - y) / len(x))[:, 0]
    curved = 0.5 * float(gradient @ hessian @ gradient)
    slope = sloped.values[2, 1] - sloped.values[1, 1] - curved
    assert slope == pytest.approx(float(gradient @ gradient), rel=1e-8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"largest": -1}, "largest=-1 must be >= 0"), ({"noise_batches": 1}, "noise_batches=1 must be >= 2")],
)
def test_bad_settings(settings: Any, said: str) -> None:
    learner, data = least_squares(50)
    with pytest.raises(ValueError, match=said):
        tw.surface.curvature(learner, data, **settings)


def test_a_hessian_that_is_not_finite_is_said() -> None:
    learner, data = least_squares(50)
    with pytest.raises(ValueError, match="is not finite"):
        tw.surface.curvature(learner, data, torch.full((10,), 1e200, dtype=torch.float64) * 1e200)


def test_one_batch_shows_no_noise() -> None:
    learner, data = least_squares(50)
    with pytest.raises(ValueError, match="gave 1 full batch"):
        tw.surface.curvature(learner, data, largest=0, smallest=0, noise_batches=4, batch_size=50)
    assert np.isinf(tw.surface.noise_scale(torch.tensor([[1.0], [-1.0]]), 4))
    assert rows(3)[0].shape == (3, 4)
