"""A shorter `benchmarks/torture.py`: three of its trainings, killed twice each."""

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
KILLS = {"mlp": 2, "convnet": 2, "recommender": 2}


@pytest.fixture(scope="module")
def torture() -> Iterator[ModuleType]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(FOLDER))
    try:
        import torture

        yield torture
    finally:
        sys.path.remove(str(FOLDER))
        torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX's")
@pytest.mark.parametrize("name", list(KILLS))
def test_a_killed_run_ends_with_the_weights_of_the_one_nobody_killed(
    torture: ModuleType, name: str, tmp_path: Path
) -> None:
    tally = torture.torture(name, KILLS[name], tmp_path, random.Random(7))
    assert tally.kills == KILLS[name]
    assert tally.lost == 0
    assert tally.compared > 1000
    assert tally.differing == 0
