"""``thalweg surface`` on a run of the tiny recipe."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from tests.cli.conftest import Ended

Thalweg = Callable[..., Ended]


def test_plane_path_and_curvature_go_into_the_report(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    assert thalweg("run", recipe, "--out", "run", "train.epochs=2", "train.keep=2", "--quiet").status == 0
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    ended = thalweg("surface", "run", "--points", "5", "--full", "--eigenvalues", "2")
    assert ended.status == 0, ended.err
    assert re.search(r"^Plane\(.*5 × 5", ended.out, re.MULTILINE)
    assert re.search(r"^Curvature\(λ_max=.*2/lr=", ended.out, re.MULTILINE)
    figures = tmp_path / "run" / "figures"
    plane = tw.surface.Plane.load(figures / "surface-plane.npz")
    drawn = json.loads((figures / "surface-plane.json").read_text())["data"][0]
    np.testing.assert_allclose(np.array(drawn["customdata"]).T, plane.values, rtol=1e-6)
    curved = tw.surface.Curvature.load(figures / "surface-curvature.npz")
    bars, line = json.loads((figures / "surface-curvature.json").read_text())["data"]
    np.testing.assert_allclose(bars["y"], [*curved.largest, *curved.smallest[::-1]], rtol=1e-6)
    assert line["y"][0] == curved.edge
    assert (figures / "surface-path.npz").is_file()
    page = (tmp_path / "run" / "report.html").read_text()
    for title in ("Loss over a plane", "Curvature: eigenvalues of the Hessian"):
        assert title in page
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_what_ctrl_c_breaks_off_goes_on(
    thalweg: Thalweg, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert thalweg("run", recipe, "--out", "run", "train.epochs=1", "--quiet").status == 0
    levels = sys.modules["thalweg.surface.levels"]
    evaluate, asked = levels.evaluate, list[int]()

    def counted(*args: Any, **more: Any) -> Any:
        if len(asked) == limit:
            raise KeyboardInterrupt
        asked.append(len(args[3]))
        return evaluate(*args, **more)

    monkeypatch.setattr(levels, "evaluate", counted)
    figures, limit = tmp_path / "run" / "figures", 1
    for scale in ("1", "2"):
        asked.clear()
        ended = thalweg("surface", "run", "--points", "15", "--scale", scale)
        assert (ended.status, asked) == (130, [49])
        assert "broken off; the same command goes on from what is done" in ended.err
    assert len(list(figures.glob(".surface-unfinished-*"))) == 2
    asked.clear()
    limit = 99
    ended = thalweg("surface", "run", "--points", "15", "--scale", "2")
    assert ended.status == 0, ended.err
    assert 49 not in asked, "the first level is not computed again"
    assert list(figures.glob(".surface-unfinished-*")) == []
    whole = tw.surface.Plane.load(figures / "surface-plane.npz")
    assert thalweg("surface", "run", "--points", "15", "--scale", "2").status == 0
    np.testing.assert_array_equal(tw.surface.Plane.load(figures / "surface-plane.npz").values, whole.values)


def test_what_is_no_run_is_refused(thalweg: Thalweg, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = thalweg("surface", "empty")
    assert ended.status != 0
    assert "empty holds no recipe.toml, so that it is no run of `thalweg run`" in ended.err
