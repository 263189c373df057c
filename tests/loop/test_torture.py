"""A shorter `benchmarks/torture.py`: every kind of training there, killed twice and gone on with to its end."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).resolve().parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def torture() -> Iterator[ModuleType]:
    """`benchmarks/torture.py`, with one thread: torch's do not survive a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(FOLDER))
    try:
        import torture

        yield torture
    finally:
        sys.path.remove(str(FOLDER))
        torch.set_num_threads(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX's")
@pytest.mark.parametrize("name", ["mlp", "convnet", "recommender", "char_lm", "stream"])
def test_a_killed_run_ends_with_the_weights_of_the_one_nobody_killed(
    torture: ModuleType, name: str, tmp_path: Path
) -> None:
    tally = torture.torture(name, 2, tmp_path, random.Random(name), shorter=4)
    assert tally.kills == 2
    assert tally.resumes + tally.begun_anew >= 2
    assert tally.runs >= 1
    assert tally.compared > 30_000, "weights, history, and the last checkpoint's tensors"
    assert (tally.differing, tally.lost) == (0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX's")
def test_what_differs_is_counted(torture: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that forgets the generators does not get through."""
    monkeypatch.setattr("thalweg.loop.state.restore_generators", lambda run, stored: [])
    tally = torture.torture("mlp", 2, tmp_path, random.Random(1), shorter=2)
    assert tally.resumes >= 1
    assert tally.differing > 0
