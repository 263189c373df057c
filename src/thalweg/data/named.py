"""A data set in three parts, with what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["NamedData"]

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class NamedData:
    """Training, validation and test part of a data set, each a pair (X, y).

    Attributes:
        name: of the data set.
        train, valid, test: (X, y), X **(n, …)** float32, y **(n,)** int64 classes or **(n, 1)** float32 values.
        classes: names of the classes 0 … C−1; empty for regression.
        feature_names: names of the columns of X; empty for images.
        image_shape: (channels, height, width) of a row, or None where rows are no images.
        truth: the parameters that made the data, where they are known.
    """

    name: str
    train: Pair
    valid: Pair
    test: Pair
    classes: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    truth: Mapping[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = ", ".join(f"{part} {tuple(getattr(self, part)[0].shape)}" for part in ("train", "valid", "test"))
        return f"NamedData({self.name!r}: {parts}{f', {len(self.classes)} classes' if self.classes else ''})"
