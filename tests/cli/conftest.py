"""The command as a function, and a recipe that is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.recipe.tiny import tiny, without_pictures
from thalweg.cli import main
from thalweg.recipe import load


class Ended(NamedTuple):
    """What a command left on the terminal."""

    status: int
    out: str
    err: str


@pytest.fixture
def thalweg(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ended]:
    """Return a function that runs ``thalweg`` with these words, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*words: str) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures and report out, which take most of the time of a tiny run."""
    without_pictures(monkeypatch)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """Write ``tiny.toml`` into the folder and return its name."""
    load(tiny()).save(tmp_path / "tiny.toml")
    return "tiny.toml"
