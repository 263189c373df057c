"""The README's first example runs as it stands, and what it prints is what the README says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_first_minute_prints_what_the_readme_shows(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    shown = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    assert shown is not None
    run = subprocess.run(
        [sys.executable, "-c", code[1]],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    printed = run.stdout.splitlines()
    promised = [line for line in shown[1].splitlines() if line != "…"]
    # Seconds and the last digits of a loss are the machine's; everything else is to the letter.
    plan = [line for line in promised if not line.startswith(("epoch", "{"))]
    missing = [line for line in plan if line not in printed]
    assert not missing, missing
    epochs = [line.split()[1] for line in promised if line.startswith("epoch")]
    assert set(epochs) <= {line.split()[1] for line in printed if line.startswith("epoch")}
    accuracy = float(re.search(r"'accuracy': ([\d.]+)", run.stdout)[1])  # type: ignore[index]
    claimed = float(re.search(r"'accuracy': ([\d.]+)", shown[1])[1])  # type: ignore[index]
    assert abs(accuracy - claimed) <= 0.02


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists(), f"README links to {link}, which is not there"
