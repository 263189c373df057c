"""Curves in a terminal, read back dot by dot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.draw import terminal_curve

# Bits of a braille cell, by (row, column) of its 4 x 2 dots (Unicode 15, block 2800).
BITS = {(0, 0): 0x01, (1, 0): 0x02, (2, 0): 0x04, (3, 0): 0x40, (0, 1): 0x08, (1, 1): 0x10, (2, 1): 0x20, (3, 1): 0x80}


def dots(text: str, height: int) -> np.ndarray:
    """Return the drawn dots, shape ``(4 * height, 2 * width)``, from the braille lines."""
    lines = [line.partition("│")[2] for line in text.splitlines() if "│" in line]
    assert len(lines) == height
    width = max(map(len, lines))
    grid = np.zeros((4 * height, 2 * width), dtype=bool)
    for y, line in enumerate(lines):
        for x, character in enumerate(line):
            code = 0 if character == " " else ord(character) - 0x2800
            for (row, column), bit in BITS.items():
                grid[4 * y + row, 2 * x + column] = bool(code & bit)
    return grid


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=300),
    st.integers(24, 100),
    st.integers(2, 10),
)
def test_every_line_fits_and_the_curve_is_unbroken(values: list[float], width: int, height: int) -> None:
    text = terminal_curve(values, width=width, height=height)
    assert max(map(len, text.splitlines())) <= width
    grid = dots(text, height)
    columns = [set(np.flatnonzero(column)) for column in grid.T]
    assert all(columns), "a column of a finite curve is empty"
    for one, other in pairwise(columns):
        assert one & other or min(abs(a - b) for a in one for b in other) <= 1


def test_a_straight_line_is_the_diagonal() -> None:
    grid = dots(terminal_curve(np.linspace(0, 1, 200), width=24, height=4), 4)
    heights = [np.flatnonzero(column).mean() for column in grid.T]
    expected = np.linspace(15, 0, 2 * len(heights) + 1)[1::2]
    assert np.abs(np.array(heights) - expected).max() <= 1


def test_one_spike_among_a_million_is_drawn() -> None:
    values = np.zeros(1_000_000)
    values[300_001] = 1.0
    grid = dots(terminal_curve(values, width=40, height=3), 3)
    assert grid[0].sum() == 1
    assert grid[-1].all()


def test_gaps_stay_empty() -> None:
    values = np.ones(400)
    values[100:300] = np.nan
    grid = dots(terminal_curve(values, width=40, height=3), 3)
    drawn = grid.any(axis=0)
    middle = slice(drawn.size * 3 // 8, drawn.size * 5 // 8)
    assert not drawn[middle].any()
    assert drawn[: drawn.size // 5].all()


def test_labels_name_extremes_and_steps() -> None:
    lines = terminal_curve([0.0, 2.0, 0.5], width=30, height=3, title="learning rate", steps=(1, 5000)).splitlines()
    assert lines[0] == "learning rate"
    assert lines[1].startswith("2 │")
    assert lines[3].startswith("0 │")
    assert lines[4].split() == ["1", "5,000"]
    assert len(lines[4]) == 30


def test_constant_and_single_values_have_one_label() -> None:
    for values in ([0.1] * 9, [0.1]):
        labels = [
            line.partition("│")[0].strip() for line in terminal_curve(values, width=30, height=3).splitlines()[:3]
        ]
        assert labels == ["", "0.1", ""]


def test_nothing_finite_draws_nothing() -> None:
    assert not dots(terminal_curve([np.nan, np.inf], width=24, height=2), 2).any()


def test_plain_characters_are_ascii() -> None:
    assert terminal_curve(np.sin(np.arange(99)), ascii_only=True).isascii()


@pytest.mark.parametrize(
    ("more", "message"),
    [({"width": 10}, r"terminal_curve: width=10 must be >= 24"), ({"height": 1}, r"height=1 must be >= 2")],
)
def test_too_small_a_place_is_refused(more: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        terminal_curve([0.0, 1.0], **more)


def test_an_empty_curve_is_refused() -> None:
    with pytest.raises(ValueError, match=r"terminal_curve: values is empty"):
        terminal_curve([])
