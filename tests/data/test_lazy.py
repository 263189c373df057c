"""Importing the package loads none of the libraries that only some data need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("pandas", "pyarrow", "sklearn", "matplotlib", "plotly")


def test_heavy_libraries_are_loaded_only_when_used() -> None:
    code = (
        "import sys, torch, thalweg.data as data\n"
        "source = data.source((torch.zeros(4, 2), [0, 1, 0, 1]))\n"
        "next(source.batches(0)); source.check(); data.load('linear', n=10)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
