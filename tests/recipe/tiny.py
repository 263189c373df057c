"""A recipe that trains in a fraction of a second, as plain data; and runs without what takes most of that second."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

_TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"name": "mlp", "hidden": [8], "dropout": 0.25},
    "data": {"name": "linear", "n": 96, "features": 4},
    "optimizer": {"name": "adam", "lr": 1e-2},
    "schedule": {"name": "join", "parts": [{"name": "warmup", "steps": "10%"}, "cosine"]},
    "loss": "mse",
    "train": {"epochs": 2, "batch_size": 16, "accumulate": 2},
}


def tiny(**sections: Any) -> dict[str, Any]:
    """Return the recipe with whole sections replaced (None: left out)."""
    document = deepcopy(_TINY) | sections
    return {key: value for key, value in document.items() if value is not None}


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs write neither figures nor a report."""
    monkeypatch.setattr("thalweg.recipe.closing.write_figures", lambda *arguments: None)
    monkeypatch.setattr("thalweg.recipe.closing.report", SimpleNamespace(build=lambda directory: None))
