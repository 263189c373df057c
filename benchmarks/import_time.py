"""What `import thalweg` costs over `import torch`: at most 15 %.

Each import runs in a fresh interpreter and times itself, so that the interpreter's own start does not flatter the
ratio. Both are imported from byte code, as an installed package is: the warm-up rounds write what is missing, also
where the environment tells Python not to.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from _record import compare, emit, measure

TIMED = "import time; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"


def import_seconds(name: str) -> float:
    """Return the seconds that a fresh interpreter takes to import *name*."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format(name=name)]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Measure and print."""
    contestants = {name: partial(import_seconds, name) for name in ("thalweg", "torch")}
    times = measure(contestants, repeats=11, warmup=2, returned=True)
    emit(compare("import", times, ours="thalweg", peer="torch", peer_name="import torch", target=1.15))


if __name__ == "__main__":
    main()
