"""The example that writes a large file, on a disk that fills on the way and as it should run."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hundred_million.py"
ROWS = 300_000  # 49 MB, two blocks


def run(folder: Path, most_bytes: int | None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, str(EXAMPLE), str(folder), str(ROWS)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, preexec_fn=limit)


@pytest.mark.skipif(sys.platform == "win32", reason="the limit is one of POSIX")
def test_a_disk_that_fills_while_writing_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "rows", 45_000_000)  # the first block fits, the second does not
    assert done.returncode == 1
    assert f"rows-{ROWS}.part could not be written to its end (File too large), and was removed" in done.stderr
    assert not list((tmp_path / "rows").iterdir())
    whole = run(tmp_path / "rows", None)
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert [path.name for path in (tmp_path / "rows").iterdir()] == [f"rows-{ROWS}.npy"]
    for name in ('closed form, "fast"', 'closed form, "high"', "SGD, one pass"):
        assert name in whole.stdout
