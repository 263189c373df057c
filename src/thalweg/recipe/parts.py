"""The data of a recipe: what to train, validate and test on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from thalweg import data as datas

__all__ = ["Parts", "as_parts"]


@dataclass(frozen=True, eq=False)
class Parts:
    """Training, validation and test data, each in any form that ``Learner.fit`` takes; None where there is none.

    Attributes:
        name: of the data.
        train, valid, test: the parts.
        classes: names of the classes 0 … C−1, where they are known.
        feature_names: names of the columns, where there are any.
        image_shape: (channels, height, width) of a row that is an image.
        scaling: (mean, standard deviation) of the training rows, each **(p,)**, where the features were standardized.
        show: (model, epoch) → text: what the model makes of these data, shown after each epoch; None: nothing.
        describe: (model, run directory): writes what the trained model has learnt of these data into the run's
            figures; None: nothing.
    """

    name: str
    train: Any
    valid: Any = None
    test: Any = None
    classes: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    scaling: tuple[Any, Any] | None = None
    show: Callable[[nn.Module, int], str] | None = None
    describe: Callable[[nn.Module, Path], None] | None = None

    def __str__(self) -> str:
        words = []
        for part, use in ((self.train, "train"), (self.valid, "validate"), (self.test, "test")):
            if part is not None:
                n = datas.source(part, batch_size=1, shuffle=False).n
                words.append(f"{'rows' if n is None else format(n, ',')} to {use}")
        return f"{self.name}: {', '.join(words)}"

    __repr__ = __str__


def as_parts(made: Any, name: str, place: str) -> Parts:
    """Return what a data set's function made as parts.

    Args:
        made: an object with ``train``, ``valid`` and ``test``, or a tuple (train, valid) or (train, valid, test).
        name: of the data.
        place: who asks, for messages.

    Raises:
        TypeError: it is something else.

    >>> import torch
    >>> part = (torch.zeros(4, 2), torch.zeros(4, 1))
    >>> as_parts((part, part), "mine", "recipe.toml [data]")
    mine: 4 to train, 4 to validate
    """
    if isinstance(made, Parts):
        return made
    if hasattr(made, "train") and hasattr(made, "valid"):
        return Parts(
            name,
            made.train,
            made.valid,
            getattr(made, "test", None),
            tuple(getattr(made, "classes", ())),
            tuple(getattr(made, "feature_names", ())),
            getattr(made, "image_shape", None),
            describe=getattr(made, "describe", None),
            show=getattr(made, "show", None),
        )
    if isinstance(made, tuple) and len(made) in (2, 3) and not any(hasattr(part, "shape") for part in made):
        return Parts(name, *made)
    got = f"{len(made)} arrays" if isinstance(made, tuple) else type(made).__name__
    raise TypeError(
        f"{place}: {name!r} returned {got}; return (train, valid) or (train, valid, test), each (X, y), a Dataset, a "
        "DataLoader or None, or an object with these as attributes."
    )
