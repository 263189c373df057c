"""The style: colours that stay apart without full colour vision, and nothing global touched."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from thalweg.draw import loss_curve
from thalweg.draw.style import INK, MUTED, SERIES

# Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009),
# severity 1.0, acting on linear RGB.
DICHROMACIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> NDArray[np.float64]:
    """Return linear RGB of an sRGB colour (IEC 61966-2-1)."""
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE L*a*b* (D65) of linear RGB."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    light, dark = sorted((float(TO_XYZ[1] @ linear(c)) for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("vision", DICHROMACIES)
def test_series_colours_stay_apart(vision: str) -> None:
    seen = [lab(DICHROMACIES[vision] @ linear(colour)) for colour in SERIES]
    distances = [float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)]
    # A CIE76 distance of 2.3 is just noticeable. The first three colours, with which nearly every figure makes do, are
    # held to more.
    assert min(distances) > 15
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen[:3], 2)) > 20


@pytest.mark.parametrize(("colour", "least"), [(INK, 7.0), (MUTED, 4.5), *((colour, 3.0) for colour in SERIES)])
def test_contrast_on_white(colour: str, least: float) -> None:
    assert contrast(colour, "#ffffff") >= least


def test_global_settings_stay_as_they_are() -> None:
    before = dict(matplotlib.rcParams)
    loss_curve([1, 2], [2.0, 1.0]).canvas.draw()
    assert dict(matplotlib.rcParams) == before


def test_plotting_libraries_load_only_when_used_and_pyplot_never() -> None:
    code = (
        "import sys, thalweg.draw, thalweg.report\n"
        "print(sorted({'matplotlib', 'plotly', 'pandas'} & set(sys.modules)))\n"
        "thalweg.draw.loss_curve([1, 2], [2.0, 1.0])._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_figure_shows_itself_in_a_notebook() -> None:
    data, size = loss_curve([1, 2], [2.0, 1.0])._repr_png_()
    assert data.startswith(b"\x89PNG")
    width = int.from_bytes(data[16:20], "big")
    assert width == 1080
    assert size["width"] == 691  # 7.2 inches of 96 CSS pixels
