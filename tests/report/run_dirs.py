"""Made-up but realistic run directories for the report's tests, written in the format that the report documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RECIPE = """\
# An MLP on digits.
[model]
name = "mlp"
widths = [784, 50, 10]

[optimizer]
name = "adamw"
lr = 1e-2          # the peak of the cycle
weight_decay = 0.01

[schedule]
name = "one_cycle"
pct_start = 0.25

[train]
epochs = 5
batch_size = 64
seed = 0
"""


def one_cycle(steps: int) -> tuple[Array, Array]:
    """Return a rate and a momentum over *steps*, each of shape ``(steps,)``."""
    t = np.arange(1, steps + 1) / steps
    # The first and last rates are the peak over 25 and over 1e5.
    up, down = (1 - np.cos(np.pi * t / 0.25)) / 2, (1 + np.cos(np.pi * (t - 0.25) / 0.75)) / 2
    wave = np.where(t < 0.25, up, down)
    lowest = np.where(t < 0.25, 4e-4, 1e-7)
    return lowest + (1e-2 - lowest) * wave, 0.95 - 0.1 * wave


def columns(steps: int, epochs: int) -> dict[str, Array]:
    """Return a history's columns: a falling noisy loss, its debiased average, gradient norm, rate and momentum."""
    random = np.random.default_rng(0)
    step = np.arange(1, steps + 1)
    loss = (2.2 * np.exp(-step / (0.12 * steps + 1)) + 0.12) * np.exp(0.25 * random.standard_normal(steps))
    width = max(1, steps // 40)
    total = np.concatenate([[0.0], np.cumsum(loss)])
    start = np.maximum(step - width, 0)
    lr, momentum = one_cycle(steps)
    return {
        "step": step,
        "epoch": (step - 1) * epochs // steps + 1,
        "loss": loss,
        "smoothed": (total[step] - total[start]) / (step - start),
        "grad_norm": (0.6 + 3 * np.exp(-step / (0.1 * steps + 1))) * np.exp(0.3 * random.standard_normal(steps)),
        "lr": lr,
        "momentum": momentum,
    }


def write_history(folder: Path, held: dict[str, Array]) -> None:
    """Write ``history.csv`` with NumPy's own writer: a million rows take seconds."""
    whole = {"step", "epoch"}
    formats = ["%d" if name in whole else "%.7g" for name in held]
    table = np.column_stack(list(held.values()))
    np.savetxt(folder / "history.csv", table, fmt=formats, delimiter=",", header=",".join(held), comments="")


def write_epochs(folder: Path, steps: int, epochs: int, *, valid: bool = True) -> None:
    """Write ``epochs.csv``; without a validation its columns hold nothing."""
    lines = ["epoch,step,loss,val_loss,val_accuracy,accuracy,seconds"]
    for epoch in range(1, epochs + 1):
        fallen = np.exp(-epoch / epochs * 3)
        held = f"{0.15 + 1.6 * fallen:.6g},{0.975 - 0.3 * fallen:.6g}" if valid else ","
        lines.append(
            f"{epoch},{epoch * steps // epochs},{0.1 + 1.7 * fallen:.6g},{held},{0.985 - 0.3 * fallen:.6g},"
            f"{1.21 + 0.01 * epoch:.6g}"
        )
    (folder / "epochs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def plan(steps: int, epochs: int, layers: int = 2) -> dict[str, Any]:
    """Return a plan with two parameters per layer, the last bias frozen."""
    rows = []
    for layer in range(layers):
        rows.append(
            {
                "name": f"{2 * layer}.weight",
                "shape": [50, 784] if layer == 0 else [10, 50],
                "count": 39200 if layer == 0 else 500,
                "group": 0,
                "lr": 0.01,
                "weight_decay": 0.01,
                "frozen": False,
                "why": "all settings of the rule",
            }
        )
        rows.append(
            {
                "name": f"{2 * layer}.bias",
                "shape": [50] if layer == 0 else [10],
                "count": 50 if layer == 0 else 10,
                "group": 1,
                "lr": 0.01,
                "weight_decay": 0.0,
                "frozen": layer == layers - 1,
                "why": "bias: no decay",
            }
        )
    return {
        "samples": 50_000,
        "batch_size": 64,
        "accumulate": 1,
        "steps_per_epoch": -(-steps // epochs),
        "epochs": epochs,
        "total_steps": steps,
        "dropped_samples": 16,
        "engine": {"name": "torch", "why": "torch's fused kernel for float32 on the CPU"},
        "precision": "float32",
        "device": "cpu",
        "memory": {"parameters": 159_040, "gradients": 159_000, "state": 318_008},
        "rates": {
            "lr": {"first": 4e-4, "highest": 1e-2, "last": 1e-7},
            "momentum": {"first": 0.95, "highest": 0.95, "last": 0.95},
        },
        "groups": rows,
        "rule": "AdamW(lr=0.01, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)",
        "loss": "CrossEntropy(label_smoothing=0.0, ignore_index=-100)",
        "schedule": "OneCycle(pct_start=0.25, div=25.0, div_final=100000.0)",
    }


def write_run(
    folder: Path,
    *,
    steps: int = 1200,
    epochs: int = 5,
    valid: bool = True,
    layers: int = 2,
    changed: dict[str, Array] | None = None,
) -> Path:
    """Write a whole run directory and return it.

    Args:
        folder: made if it is not there.
        steps: rows of ``history.csv``.
        epochs: rows of ``epochs.csv``.
        valid: whether there was a validation.
        layers: pairs of rows in the plan's table.
        changed: columns that replace or extend the history's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_history(folder, {**columns(steps, epochs), **(changed or {})})
    write_epochs(folder, steps, epochs, valid=valid)
    (folder / "plan.json").write_text(json.dumps(plan(steps, epochs, layers)), encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    environment = {
        "thalweg": "0.1.0",
        "torch": "2.13.0",
        "python": "3.11.2",
        "platform": "Linux-6.1-x86_64",
        "device": "cpu",
        "cpu_threads": 2,
        "date": "2026-01-02T03:04:05+00:00",
    }
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    summary: dict[str, Any] = {"loss": 0.1846, "seconds": 6.2, "steps": steps, "epochs": epochs}
    if valid:
        summary = {"val_loss": 0.2297, "val_accuracy": 0.9601, **summary, "test": {"accuracy": 0.9722}}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def with_gaps(steps: int = 1200) -> dict[str, Array]:
    """Return the loss and its norm with a stretch of NaN and one infinity."""
    held = columns(steps, 5)
    for name in ("loss", "smoothed", "grad_norm"):
        held[name][700:740] = np.nan
    held["loss"][900] = np.inf
    return {name: held[name] for name in ("loss", "smoothed", "grad_norm")}


def write_events(folder: Path) -> None:
    """Write ``events.csv`` with a comma and quotation marks in a text."""
    (folder / "events.csv").write_text(
        'step,kind,text\n480,rate,"plateau: lr 0.01 → 0.005, after 3 epochs without ""better"" loss"\n'
        "701,notice,the loss is not finite\n",
        encoding="utf-8",
    )


def write_figures(folder: Path) -> None:
    """Write two further figures: a contour plot with its own title, and a nameless, tall line."""
    (folder / "figures").mkdir(exist_ok=True)
    grid = np.linspace(-1, 1, 15)
    values = (grid[:, None] ** 2 + 3 * grid[None, :] ** 2).tolist()
    plane = {
        "data": [{"type": "contour", "x": grid.tolist(), "y": grid.tolist(), "z": values, "colorscale": "Viridis"}],
        "layout": {
            "title": {"text": "Loss <b>plane</b>"},
            "meta": {"summary": "A bowl, three times as steep in β as in α."},
            "xaxis": {"title": {"text": "α"}},
            "yaxis": {"title": {"text": "β"}},
        },
    }
    line = {
        "data": [{"type": "scatter", "x": [1, 2], "y": [3, 4], "line": {"color": "--series-4"}}],
        "layout": {"height": 730},
    }
    (folder / "figures" / "plane.json").write_text(json.dumps(plane), encoding="utf-8")
    (folder / "figures" / "race_curves.json").write_text(json.dumps(line), encoding="utf-8")
