"""What every test starts from: one thread, seeded generators, no window, no browser where none is installed."""

from __future__ import annotations

import os

# Before the first import of torch and matplotlib, and inherited by the subprocesses that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import random
import re
import shutil
import sys
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest
import torch

# Derandomized: a test run is a function of the tree. No deadline: the machine may be busy.
hypothesis.settings.register_profile("thalweg", derandomize=True, deadline=None)
hypothesis.settings.load_profile("thalweg")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Return the path of the first installed browser of `BROWSERS`."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse ids that differ from process to process; skip the tests marked `browser` where there is no browser."""
    unstable = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]+", item.nodeid)]
    if unstable:
        raise pytest.UsageError(
            "a test's id holds a memory address, so that two workers do not find the same tests; "
            "give the parameters other ids:\n" + "\n".join(unstable)
        )
    if find_browser() is None:
        skip = pytest.mark.skip(reason=f"no browser: none of {', '.join(BROWSERS)} is installed")
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """Seed the global generators before the test; put torch's switches back and close figures after it."""
    dtype, deterministic = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    grad = torch.is_grad_enabled()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - code under test may draw from NumPy's global generator
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_grad_enabled(grad)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def browser() -> str:
    """Path of a Chromium for `subprocess`; a test that asks for it carries the mark `browser`."""
    path = find_browser()
    assert path is not None, "a test that uses the fixture `browser` must be marked @pytest.mark.browser"
    return path
