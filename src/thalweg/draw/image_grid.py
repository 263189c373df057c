"""A batch of images as a grid, with labels and, where given, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.draw.style import INK, SERIES, WIDTH, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["image_grid"]

_MOST = 100
_CHANNELS = (1, 3, 4)
#: Inches between two images.
_GAP = 0.09


def _pixels(images: ArrayLike) -> NDArray[np.float64]:
    """Return *images* as ``(N, H, W)`` or ``(N, H, W, C)`` with values in [0, 1]."""
    given = np.asarray(images)
    if given.ndim not in (3, 4) or 0 in given.shape:
        raise ValueError(
            f"image_grid: images have the shape {given.shape}; pass (N, H, W), (N, C, H, W) or (N, H, W, C) with C in "
            "1, 3, 4 and nothing empty."
        )
    if given.dtype.kind not in "fiub":
        raise TypeError(f"image_grid: images have the dtype {given.dtype}, but pixels are real numbers; convert them.")
    array = given.astype(np.float64)
    if array.ndim == 4:
        if array.shape[1] in _CHANNELS:
            array = array.transpose(0, 2, 3, 1)
        elif array.shape[3] not in _CHANNELS:
            raise ValueError(
                f"image_grid: images have the shape {given.shape}, which has 1, 3 or 4 channels neither second nor "
                "last; choose the channels to be shown."
            )
        if array.shape[3] == 1:
            array = array[..., 0]
    if given.dtype.kind == "u" and given.dtype.itemsize == 1:
        return array / 255.0
    finite = array[np.isfinite(array)]
    if finite.size and (finite.min() < 0 or finite.max() > 1):
        # Normalised pixels: one common stretch for the batch keeps images comparable with each other.
        low, high = finite.min(), finite.max()
        array = (array - low) / (high - low if high > low else 1.0)
    return array


def _captions(labels: Any, predictions: Any, count: int, fits: int) -> tuple[list[str], list[bool]]:
    """Return what stands above each image, in lines of at most *fits* characters, and whether it is wrong."""

    def texts(given: Any) -> list[str]:
        return [""] * count if given is None else [str(value) for value in given]

    def short(text: str) -> str:
        return text if len(text) <= fits else f"{text[: max(fits - 1, 1)]}…"

    truth = texts(labels)
    guess = truth if predictions is None else texts(predictions)
    wrong = [labels is not None and g != t for g, t in zip(guess, truth, strict=True)]
    joined = [f"{g}, not {t}" if bad else g for g, t, bad in zip(guess, truth, wrong, strict=True)]
    if any(wrong) and max(map(len, joined)) > fits:
        joined = [
            f"{short(g)}\n{short(f'not {t}')}" if bad else short(g)
            for g, t, bad in zip(guess, truth, wrong, strict=True)
        ]
    return [caption if "\n" in caption else short(caption) for caption in joined], wrong


def image_grid(
    images: ArrayLike,
    labels: Sequence[Any] | ArrayLike | None = None,
    predictions: Sequence[Any] | ArrayLike | None = None,
    *,
    columns: int | None = None,
) -> Figure:
    """Return the images of a batch as a grid, each under its label.

    Pixels in [0, 1] and ``uint8`` are shown as they are; anything else is stretched with the lowest and the highest
    value of the whole batch, so that images stay comparable. Where predictions are given, a right one stands alone and
    a wrong one reads ``predicted, not label`` inside a coloured frame.

    Args:
        images: shape ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)`` with C in 1, 3, 4; 1 ≤ N ≤ 100. Where both the
            second and the last size could be channels the second is taken, as in torch.
        labels: N things that print as labels.
        predictions: N things that print as predictions.
        columns: images per row; ``None`` chooses a nearly square grid, at most eight wide.

    Returns:
        A :class:`matplotlib.figure.Figure` with one axis per image.

    Raises:
        TypeError: pixels are not real numbers.
        ValueError: the shape is none of the above, there are more than 100 images, or labels or predictions are not N.

    >>> picture = image_grid(np.zeros((2, 8, 8)), labels=[3, 5], predictions=[3, 6])
    >>> [axes.get_title() for axes in picture.axes]
    ['3', '6, not 5']
    """
    pixels = _pixels(images)
    count = pixels.shape[0]
    if count > _MOST:
        raise ValueError(f"image_grid: {count} images are too many to be read; pass at most {_MOST}.")
    named = {"labels": labels, "predictions": predictions}
    for name, given in named.items():
        if given is not None and len(given) != count:  # type: ignore[arg-type]
            raise ValueError(f"image_grid: {len(given)} {name} for {count} images; pass one for each.")  # type: ignore[arg-type]
    if columns is not None and columns < 1:
        raise ValueError(f"image_grid: columns={columns} must be >= 1; pass how many images stand in a row.")
    across = min(count, columns or min(8, int(np.ceil(np.sqrt(count * 1.6)))))
    down = -(-count // across)
    side = min(1.35, WIDTH / across - _GAP)
    ratio = pixels.shape[1] / pixels.shape[2]
    captions, wrong = _captions(labels, predictions, count, fits=int(side * 13))
    captioned = 0.17 * max(caption.count("\n") + 1 for caption in captions) + 0.03 if any(captions) else 0.0
    tall = side * ratio
    width, height = across * (side + _GAP) + _GAP, down * (tall + captioned + _GAP) + _GAP
    # Placed by hand: the layout engine takes seconds for a hundred axes.
    picture = figure(height, width, pad=None)
    for place in range(count):
        row, column = divmod(place, across)
        left, top = _GAP + column * (side + _GAP), _GAP + row * (tall + captioned + _GAP) + captioned
        axes = picture.add_axes((left / width, 1 - (top + tall) / height, side / width, tall / height))
        # Colour map and limits are matplotlib's business for (H, W) only; (H, W, C) ignores them.
        axes.imshow(pixels[place], interpolation="nearest", cmap="gray", vmin=0.0, vmax=1.0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(captions[place], fontsize=8, color=SERIES[1] if wrong[place] else INK, pad=3)
        for spine in axes.spines.values():
            spine.set_color(SERIES[1] if wrong[place] else "#c9cfd6")
            spine.set_linewidth(2.0 if wrong[place] else 0.6)
    return picture
