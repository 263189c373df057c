"""No path outside of the run directory is written, whatever the recipe is called and wherever it is to go."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open folders are named by /proc")


@pytest.mark.parametrize("pictures", ["bare", "with figures and report"])
def test_whole_runs_write_in_their_directory_only(tmp_path: Path, pictures: str) -> None:
    loggers = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    caches = [str(tmp_path / "cache")]
    environment = {
        **os.environ,
        "HOME": str(tmp_path / "cache"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "MPLCONFIGDIR": str(tmp_path / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "THALWEG_CACHE": str(tmp_path / "cache"),
    }
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "tests.recipe.traced_runs", json.dumps(loggers), json.dumps(caches), pictures]
    ended = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    said = json.loads(ended.stdout.splitlines()[-1])
    assert any("is a link to" in line for line in said)
    assert any("null" in line for line in said)
