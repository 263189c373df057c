"""Whether the tables of a closed form fit into memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["available_bytes", "check_fits", "fits"]


def available_bytes() -> int | None:
    """Return the memory that can be had without swapping, in bytes, or None where the system does not say."""
    info = Path("/proc/meminfo")
    if info.exists():
        found = re.search(r"^MemAvailable:\s*(\d+) kB", info.read_text(), flags=re.MULTILINE)
        if found:
            return int(found.group(1)) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _needed(features: int, targets: int) -> int:
    """Return the bytes of the Gram matrix, its eigenvectors and LAPACK's working space, in float64."""
    return 4 * 8 * (features + targets + 1) ** 2


def fits(features: int, targets: int) -> bool:
    """Whether a Gram matrix of that many columns and what solving it takes fit into half of the available memory."""
    available = available_bytes()
    return available is None or _needed(features, targets) <= available // 2


def check_fits(who: str, features: int, targets: int) -> None:
    """Raise where the closed form does not fit into memory.

    Raises:
        ValueError: with what it needs, what there is, and which solver to take.
    """
    if fits(features, targets):
        return
    available = available_bytes()
    assert available is not None, "without a figure everything fits"
    raise ValueError(
        f"{who}: the closed form of {features:,} features needs {_needed(features, targets) / 2**30:.1f} GiB for its "
        f"{features:,} × {features:,} matrices, and half of the available memory is {available / 2**31:.1f} GiB; use "
        "solver='sgd' (or 'gd'), which keep a few vectors of that length."
    )
