"""Image grids: channel order, stretch, captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.draw.layout import assert_legible
from thalweg.draw import image_grid

RANDOM = np.random.default_rng(0)


def shown(images: Any, place: int = 0) -> np.ndarray:
    """Return the pixels that matplotlib was given."""
    return np.asarray(image_grid(images).axes[place].images[0].get_array())


def test_channel_orders_agree() -> None:
    colour = RANDOM.random((3, 3, 6, 5))
    assert np.array_equal(shown(colour), shown(colour.transpose(0, 2, 3, 1)))
    gray = RANDOM.random((2, 6, 5))
    assert np.array_equal(shown(gray), shown(gray[:, None]))
    assert np.array_equal(shown(gray), shown(gray[..., None]))


def test_unit_range_and_bytes_are_shown_as_they_are() -> None:
    unit = RANDOM.random((1, 4, 4)) * 0.5
    assert np.array_equal(shown(unit), unit[0])
    bytes_ = RANDOM.integers(0, 256, (1, 4, 4), dtype=np.uint8)
    assert np.allclose(shown(bytes_), bytes_[0] / 255)


def test_normalised_pixels_share_one_stretch() -> None:
    images = np.stack([np.full((4, 4), -1.0), np.full((4, 4), 0.0), np.full((4, 4), 3.0)])
    assert [shown(images, place)[0, 0] for place in range(3)] == [0.0, 0.25, 1.0]


def test_right_and_wrong_predictions() -> None:
    picture = image_grid(np.zeros((3, 8, 8)), labels=[1, 2, 3], predictions=[1, 2, 8])
    assert [axes.get_title() for axes in picture.axes] == ["1", "2", "8, not 3"]
    frames = [axes.spines["left"].get_linewidth() for axes in picture.axes]
    assert frames[2] > frames[0] == frames[1]


def test_long_names_take_two_lines_and_stay_legible() -> None:
    names = np.array(["airplane", "a rather long class name", "dog"])
    labels = RANDOM.integers(0, 3, 20)
    picture = image_grid(np.zeros((20, 3, 16, 16)), names[labels], names[(labels + 1) % 3])
    assert "\nnot " in picture.axes[0].get_title()
    assert_legible(picture)


@pytest.mark.parametrize("count", [1, 2, 5, 24])
def test_legible(count: int) -> None:
    assert_legible(image_grid(np.zeros((count, 8, 8)), labels=np.arange(count)))


@pytest.mark.parametrize(
    ("images", "more", "error", "message"),
    [
        (np.zeros((8, 8)), {}, ValueError, r"images have the shape \(8, 8\); pass \(N, H, W\)"),
        (np.zeros((0, 8, 8)), {}, ValueError, r"shape \(0, 8, 8\).*nothing empty"),
        (np.zeros((1, 7, 8, 9)), {}, ValueError, r"1, 3 or 4 channels neither second nor last"),
        (np.zeros((101, 2, 2)), {}, ValueError, r"101 images are too many to be read; pass at most 100"),
        (np.zeros((2, 4, 4)), {"labels": [1]}, ValueError, r"1 labels for 2 images; pass one for each"),
        (np.zeros((2, 4, 4)), {"predictions": [1, 2, 3]}, ValueError, r"3 predictions for 2 images"),
        (np.zeros((2, 4, 4)), {"columns": 0}, ValueError, r"columns=0 must be >= 1"),
        (np.zeros((2, 4, 4), complex), {}, TypeError, r"images have the dtype complex128, but pixels are real"),
    ],
)
def test_wrong_arguments_are_refused(images: Any, more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        image_grid(images, **more)
