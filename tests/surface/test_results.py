"""What comes back: files, figures, batches, statistics, adaptive planes, paths of training."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import thalweg as tw
from tests.surface.models import CASES, Case, independent, learner_of, rows
from thalweg.surface.refine import interpolation_matrix, refined


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def test_batches_are_kept_apart() -> None:
    case = case_of("mlp")
    learner, data = learner_of(case), case.data()
    found = tw.surface.random_line(learner, data, points=3, batches=3, batch_size=20, seed=4)
    assert found.values.shape == (3, 3)
    source = tw.data.source(data, batch_size=20, shuffle=True, seed=4)
    for place, batch in zip(range(3), source.batches(0), strict=False):
        held = {name: param.detach() for name, param in learner.module.named_parameters()}
        assert found.values[place, 1] == pytest.approx(independent(learner, batch, held), rel=1e-12)


def test_a_scale_is_a_zoom_of_the_same_direction() -> None:
    case = case_of("mlp")
    learner, data = learner_of(case), case.data()
    wide = tw.surface.random_line(learner, data, scale=2.0, points=5)
    near = tw.surface.random_line(learner, data, scale=1.0, points=3)
    np.testing.assert_allclose(wide.values[1:4], near.values, rtol=1e-12)
    assert (wide.alphas == -wide.alphas[::-1]).all()


def test_a_loader_gives_what_memory_gives() -> None:
    case = case_of("layer norm")
    learner, data = learner_of(case), case.data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=13)
    streamed = tw.surface.plane(learner, loader, points=(3, 2))
    np.testing.assert_allclose(streamed.values, tw.surface.plane(learner, data, points=(3, 2)).values, rtol=1e-12)
    assert streamed.facts.rows == 90


@pytest.mark.parametrize("name", ["batch norm", "convnet"])
def test_batch_statistics_estimated_anew(name: str) -> None:
    case = case_of(name)
    learner, data = learner_of(case), case.data()
    frozen = tw.surface.plane(learner, data, points=3)
    anew = tw.surface.plane(learner, data, points=3, batch_norm="reestimated")
    assert (frozen.facts.statistics, anew.facts.statistics) == ("frozen", "reestimated")
    assert "batch statistics reestimated" in anew.note()
    assert not np.allclose(frozen.values, anew.values)
    model = copy.deepcopy(learner.module)
    norm = next(m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    norm.momentum = None
    norm.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(data[0])
        model.eval()
        expected = nn.functional.cross_entropy(model(data[0]), data[1])
    assert anew.values[1, 1] == pytest.approx(float(expected), rel=1e-10)


def test_between_two_models_statistics_go_along() -> None:
    case = case_of("batch norm")
    a, data = learner_of(case), case.data()
    b = learner_of(case)
    with torch.no_grad():
        for tensor in (*b.module.parameters(), b.module[1].running_mean):
            tensor.add_(0.3)
        b.module[1].running_var.mul_(2.0)
    found = tw.surface.interpolation(a, data, a, b, margin=0.0, points=3)
    assert found.values[0] == pytest.approx(a.evaluate(data)["loss"], rel=1e-10)
    assert found.values[-1] == pytest.approx(b.evaluate(data)["loss"], rel=1e-10)
    assert found.facts.statistics == "interpolated"


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_files_round_trip_without_pickle(suffix: str, tmp_path: Path) -> None:
    case = case_of("mlp")
    learner, data = learner_of(case), case.data()
    plane = tw.surface.plane(learner, data, points=(4, 3))
    path = [{name: p + 0.1 * t for name, p in learner.module.named_parameters()} for t in (2, 1, 0)]
    walked = tw.surface.trajectory(learner, data, path, points=(2, 3))
    broken = replace(plane, values=np.where(plane.values > plane.values.mean(), np.nan, plane.values))
    line = tw.surface.random_line(learner, data, points=3)
    batches = tw.surface.random_line(learner, data, points=5, batches=2, batch_size=20)
    curved = tw.surface.curvature(learner, data)
    alone = tw.surface.curvature(learner, data, largest=0, smallest=0)
    for result in (plane, walked, broken, batches, line, curved, alone):
        again = type(result).load(result.save(tmp_path / f"{type(result).__name__}.{suffix}"))
        for name, value in vars(result).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(again, name), value)
            elif name != "vectors" and value == value:
                assert getattr(again, name) == value
    with pytest.raises(ValueError, match="holds a Line; load it with"):
        tw.surface.Plane.load(tmp_path / f"Line.{suffix}")
    (tmp_path / f"bad.{suffix}").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="cannot be read"):
        tw.surface.Line.load(tmp_path / f"bad.{suffix}")
    with pytest.raises(FileNotFoundError):
        tw.surface.Line.load(tmp_path / f"none.{suffix}")


def test_a_table_has_a_row_per_point(tmp_path: Path) -> None:
    from pyarrow import parquet, table

    case = case_of("mlp")
    plane = tw.surface.plane(learner_of(case), case.data(), points=(3, 2))
    rows = parquet.read_table(plane.save(tmp_path / "plane.parquet")).to_pylist()
    assert rows[3] == {"alphas": 0.0, "betas": 1.0, "values": plane.values[1, 1], "computed": True}
    assert len(rows) == 6
    parquet.write_table(table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other.parquet cannot be read .* give a file that Plane.save wrote"):
        tw.surface.Plane.load(tmp_path / "other.parquet")


def cliff(output: Tensor, target: Tensor) -> Tensor:
    """A loss that is not a number where the output is large."""
    return torch.where(output[:, 0] > 1.0, torch.nan, (output - target).square()[:, 0])


def test_a_region_that_is_not_a_number_is_shown(tmp_path: Path) -> None:
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    learner = tw.compile(model, optimizer="sgd", lr=0.1, loss=cliff)
    data = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    e1, e2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    found = tw.surface.plane(learner, data, None, e1, e2, scale=2.0, points=9)
    assert np.isnan(found.values[-1]).all()
    assert np.isfinite(found.values[0, 0])
    picture = found.plot()
    said = [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    assert any(text.startswith("not finite (") for text in said)
    picture.savefig(tmp_path / "nan.png")
    assert None in json.loads(json.dumps(found.figure()))["data"][0]["z"][0]
    tw.surface.line(learner, data, direction=e1, alphas=[-1.0, 0.0, 2.0]).plot().savefig(tmp_path / "line.png")
    refined = tw.surface.plane(learner, data, None, e1, e2, scale=2.0, points=33, adaptive=True)
    whole = tw.surface.plane(learner, data, None, e1, e2, scale=2.0, points=33)
    np.testing.assert_array_equal(np.isnan(refined.values), np.isnan(whole.values))


def test_figures_for_the_report(tmp_path: Path) -> None:
    case = case_of("mlp")
    learner, data = learner_of(case), case.data()
    plane = tw.surface.plane(learner, data, points=(4, 3))
    figure = json.loads(plane.write(tmp_path).read_text())
    trace = figure["data"][0]
    assert trace["type"] == "surface"
    assert np.shape(trace["z"]) == (3, 4)  # plotly: rows are y
    assert trace["z"][2][1] == pytest.approx(plane.values[1, 2], rel=1e-6)
    assert all(part in trace["hovertemplate"] for part in ("α", "β", "loss"))
    line = tw.surface.random_line(learner, data, points=3, batches=2, batch_size=30)
    assert len(json.loads(line.write(tmp_path).read_text())["data"]) == 2
    html = tw.report.build(tmp_path).read_text()
    assert "Loss over a plane" in html
    assert "<img" in plane._repr_html_()
    assert "points computed" in line._repr_html_()
    with pytest.raises(ValueError, match="is no directory"):
        plane.write(tmp_path / "nowhere")
    for kind in ("contour", "3d"):
        assert plane.plot(kind, log=True).axes
    assert len(tw.surface.curvature(learner, data).plot().axes) == 1


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.integers(4, 9), st.integers(1, 7))
def test_interpolation_is_exact_for_cubics(coefficients: list[float], nodes: int, at: int) -> None:
    x, wanted = np.linspace(-1, 1, nodes), np.linspace(-1, 1, at)
    found = interpolation_matrix(x, wanted) @ np.polyval(coefficients, x)
    np.testing.assert_allclose(found, np.polyval(coefficients, wanted), atol=1e-10)


@pytest.mark.parametrize(
    ("surface", "most"),
    [
        (lambda a, b: 1 + a**2 + 3 * b**2, 0.07),
        (lambda a, b: 0.1 + np.maximum(0, a + 0.3 * b) + 0.2 * b**2, 0.35),
        (lambda a, b: np.exp(3 * a) + np.abs(b), 0.35),
        (lambda a, b: 1 + np.exp(-200 * (a - 0.31) ** 2 - 200 * (b + 0.4) ** 2), 0.6),
    ],
    ids=["quadratic", "kink", "steep", "narrow bump"],
)
def test_an_adaptive_plane_keeps_its_tolerance(surface: Any, most: float) -> None:
    alphas = np.linspace(-1, 1, 51)
    whole = surface(alphas[:, None], alphas[None, :])
    asked: list[Any] = []

    def compute(at: Any) -> Any:
        asked.append(at)
        return surface(at[:, 0], at[:, 1])

    values, computed = refined(compute, alphas, alphas, 0.02)
    assert np.linalg.norm(values - whole) <= 0.02 * np.linalg.norm(whole)
    assert computed.mean() <= most
    assert sum(map(len, asked)) == computed.sum() == len(np.unique(np.concatenate(asked), axis=0))
    np.testing.assert_array_equal(values[computed], whole[computed])


def test_the_path_of_a_training(tmp_path: Path) -> None:
    data = rows(60, kind="numbers")
    torch.manual_seed(0)
    learner = tw.compile(nn.Linear(4, 1).double(), optimizer="sgd", lr=0.05, loss="mse", seed=0)
    recorder = tw.surface.PathRecorder(keep=12)
    learner.fit(
        data,
        epochs=8,
        batch_size=10,
        verbose=False,
        hooks=[recorder],
        run_dir=tmp_path,
        checkpoint_every="1 epochs",
        keep=99,
    )
    assert len(recorder.steps) <= 13
    assert (recorder.steps[0], recorder.steps[-1]) == (0, 48)
    found = tw.surface.trajectory(learner, data, recorder, points=21)
    path = np.stack([torch.cat([t.reshape(-1) for t in w.values()]).numpy() for w in recorder.points])
    away = path - path[-1]
    singular = np.linalg.svd(away, compute_uv=False)
    np.testing.assert_allclose(found.shares, singular[:2] ** 2 / (singular**2).sum(), rtol=1e-8)
    np.testing.assert_allclose((found.path**2).sum(0), singular[:2] ** 2, rtol=1e-8)
    np.testing.assert_allclose(found.path[-1], 0.0, atol=1e-12)
    assert f"{found.shares[0]:.1%}" in found.note()
    # The end lies in the plane, so its height there is its loss (up to linear interpolation on the grid).
    assert found.path_values[-1] == pytest.approx(learner.evaluate(data)["loss"], rel=0.05, abs=0.02)
    by_files = tw.surface.trajectory(learner, data, tmp_path, points=5)
    assert by_files.path_steps.tolist() == [6.0 * i for i in range(1, 9)]
    again = tw.surface.Plane.load(by_files.save(tmp_path / "path"))
    np.testing.assert_array_equal(again.path, by_files.path)
    found.plot().savefig(tmp_path / "path.png")


def test_a_recorder_goes_on_after_a_resume(tmp_path: Path) -> None:
    data = rows(60, kind="numbers")

    def made() -> tw.Learner:
        torch.manual_seed(0)
        return tw.compile(nn.Linear(4, 1).double(), optimizer="sgd", lr=0.05, loss="mse", seed=0)

    whole, half = tw.surface.PathRecorder(keep=8), tw.surface.PathRecorder(keep=8)
    made().fit(data, epochs=6, batch_size=10, verbose=False, hooks=[whole])
    made().fit(data, epochs=3, batch_size=10, verbose=False, hooks=[half], run_dir=tmp_path)
    again = tw.surface.PathRecorder(keep=8)
    made().fit(data, epochs=6, batch_size=10, verbose=False, hooks=[again], resume=tmp_path, run_dir=tmp_path)
    assert again.steps == whole.steps
    for a, b in zip(again.points, whole.points, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def seed_network() -> tuple[tw.Learner, Any, Any]:
    """10-40-20-1 with the teacher's nonlinear data."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 10, generator=g)
    y = torch.sin(x[:, :3]).sum(1, keepdim=True) + x[:, 3:4] * x[:, 4:5] + 0.1 * torch.randn(4000, 1, generator=g)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 1))
    return tw.compile(model, optimizer="adam", lr=3e-3, loss="mse", seed=0), (x, y), (x[:1000], y[:1000])


def convnet() -> tuple[tw.Learner, Any, Any]:
    data = tw.data.load("digits", flat=False)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    learner = tw.compile(model, optimizer="adam", lr=3e-3, loss="cross_entropy", seed=0)
    return learner, data.train, (data.valid[0][:64], data.valid[1][:64])


def mnist() -> tuple[tw.Learner, Any, Any]:
    if not tw.data.is_obtained("mnist"):
        pytest.skip("MNIST is not there; make data obtains it")
    data = tw.data.load("mnist")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    learner = tw.compile(model, optimizer="adam", lr=1e-3, loss="cross_entropy", seed=0)
    return learner, (data.train[0][:20000], data.train[1][:20000]), (data.valid[0][:1000], data.valid[1][:1000])


@pytest.mark.parametrize("made", [seed_network, convnet, pytest.param(mnist, marks=pytest.mark.real)])
def test_an_adaptive_plane_of_a_trained_network(made: Any) -> None:
    learner, train, shown = made()
    learner.fit(train, epochs=3, batch_size=64, verbose=False)
    whole = tw.surface.plane(learner, shown, points=51)
    found = tw.surface.plane(learner, shown, points=51, adaptive=True)
    assert np.linalg.norm(found.values - whole.values) <= 0.02 * np.linalg.norm(whole.values)
    assert found.computed.mean() <= 0.35
    assert found.facts.evaluations == found.computed.sum()
    assert "of the grid computed" in found.note()
    np.testing.assert_allclose(found.values[found.computed], whole.values[found.computed], rtol=1e-5)
