"""What `import thalweg` costs over `import torch`: at most 15 %.

Each import runs in a fresh interpreter and times itself, so that the interpreter's own start does not flatter the
ratio. The warm-up rounds write the byte code and bring the files into memory.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from _record import compare, emit, measure

TIMED = "import time; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"


def import_seconds(name: str) -> float:
    """Return the seconds that a fresh interpreter takes to import *name*."""
    run = subprocess.run([sys.executable, "-c", TIMED.format(name=name)], capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Measure and print."""
    contestants = {name: partial(import_seconds, name) for name in ("thalweg", "torch")}
    times = measure(contestants, repeats=11, warmup=2, returned=True)
    emit(compare("import", times, ours="thalweg", peer="torch", peer_name="import torch", target=1.15))


if __name__ == "__main__":
    main()
