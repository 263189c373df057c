"""The names of loggers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from thalweg.errors import unknown_name

from .logger import Logger
from .tensorboard import TensorBoard
from .weights_and_biases import WeightsAndBiases

__all__ = ["LOGGERS", "check_loggers"]

#: What ``loggers=`` of fit and of ``[train]`` may name.
LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def check_loggers(given: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names as a tuple, each once.

    Raises:
        ValueError: an unknown one, or one whose package is not installed.

    >>> check_loggers([])
    ()
    >>> check_loggers("tensorbord")
    Traceback (most recent call last):
    ...
    ValueError: fit: unknown logger 'tensorbord'. Did you mean 'tensorboard'? Known: tensorboard, wandb.
    """
    names = tuple(dict.fromkeys((given,) if isinstance(given, str) else given))
    for name in names:
        if name not in LOGGERS:
            raise unknown_name("fit", "logger", name, LOGGERS)
        package = LOGGERS[name].package
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"fit: the logger {name!r} was asked for, but the package {package} is not installed; install it "
                "(pip install 'thalweg[log]'), or leave the logger out: history.csv holds the same values."
            )
    return names
