"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from thalweg.errors import unknown_name

from .idx import read_idx
from .named import NamedData, Pair
from .obtain import OBTAINABLE, data_root
from .permutation import permutation
from .synthetic import linear, nonlinear

__all__ = ["NAMES", "digits", "fashion_mnist", "load", "mnist"]

_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def digits(flat: bool = True, seed: int = 0) -> NamedData:
    """Return scikit-learn's handwritten digits: 1,797 images of 8×8, scaled from 0 … 16 to [0, 1].

    1,197 rows train, 300 validate and 300 test, drawn by *seed*. Source: Alpaydin and Kaynak (1998), *Optical
    Recognition of Handwritten Digits*, the test part, as scikit-learn ships it.

    Args:
        flat: whether rows are **(64,)** instead of **(1, 8, 8)**.
        seed: of the split.

    >>> digits()
    NamedData('digits': train (1197, 64), valid (300, 64), test (300, 64), 10 classes)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.data).float() / 16
    labels = torch.from_numpy(bunch.target).long()
    order = permutation(len(images), seed, epoch=-1)
    shape = (64,) if flat else (1, 8, 8)
    train, valid, test = (
        (images[rows].reshape(-1, *shape), labels[rows]) for rows in (order[600:], order[300:600], order[:300])
    )
    return NamedData("digits", train, valid, test, classes=_DIGITS, image_shape=(1, 8, 8))


def mnist(flat: bool = True, root: str | Path | None = None) -> NamedData:
    """Return MNIST: 28×28 images scaled to [0, 1], 50,000 to train, 10,000 to validate, 10,000 to test.

    The file's first 50,000 training images train and its last 10,000 validate, as in ``mnist.pkl.gz``.

    Args:
        flat: whether rows are **(784,)** instead of **(1, 28, 28)**.
        root: the folder of data sets; None takes the environment variable ``THALWEG_DATA``, else ``data``.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a file is truncated or no IDX file.
    """
    return _idx_images("mnist", _DIGITS, flat, root)


def fashion_mnist(flat: bool = True, root: str | Path | None = None) -> NamedData:
    """Return Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): pieces of clothing in the form and split of `mnist`.

    Args:
        flat: whether rows are **(784,)** instead of **(1, 28, 28)**.
        root: the folder of data sets; None takes the environment variable ``THALWEG_DATA``, else ``data``.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a file is truncated or no IDX file.
    """
    return _idx_images("fashion-mnist", _CLOTHES, flat, root)


def _idx_images(name: str, classes: tuple[str, ...], flat: bool, root: str | Path | None) -> NamedData:
    folder = data_root(root) / name
    train_images, train_labels = _idx_pair(folder, "train", name, flat)
    test = _idx_pair(folder, "t10k", name, flat)
    return NamedData(
        name,
        train=(train_images[:-10_000], train_labels[:-10_000]),
        valid=(train_images[-10_000:], train_labels[-10_000:]),
        test=test,
        classes=classes,
        image_shape=(1, 28, 28),
    )


def _idx_pair(folder: Path, part: str, name: str, flat: bool) -> Pair:
    images = torch.from_numpy(read_idx(_idx_file(folder, f"{part}-images-idx3-ubyte", name)))
    labels = torch.from_numpy(read_idx(_idx_file(folder, f"{part}-labels-idx1-ubyte", name)))
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"data {name!r}: {folder} holds {part} images of shape {tuple(images.shape)} and labels of shape "
            f"{tuple(labels.shape)}, but (n, 28, 28) and (n,) were expected; obtain the files again."
        )
    shape = (784,) if flat else (1, 28, 28)
    return images.float().div_(255).reshape(-1, *shape), labels.long()


def _idx_file(folder: Path, file: str, name: str) -> Path:
    """Return the file, plain or gzipped, whichever is there."""
    for candidate in (folder / file, folder / f"{file}.gz"):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(
        f"data {name!r}: there is no {file} (nor {file}.gz) in {folder.absolute()}; run `thalweg data {name}` or "
        "`make data`, or say where the data sets are with root=… or the environment variable THALWEG_DATA."
    )


NAMES: dict[str, Callable[..., NamedData]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "linear": linear,
    "nonlinear": nonlinear,
}
"""The data sets that `load` knows, each with the function that makes it."""


def load(name: str, **arguments: Any) -> NamedData:
    """Return the data set *name* of `NAMES`.

    Args:
        name: ``digits``, ``mnist``, ``fashion-mnist``, ``linear`` or ``nonlinear``.
        **arguments: of its function, such as ``flat=False`` for images, ``root`` for files, ``seed`` for random ones.

    Raises:
        ValueError: the name, or an argument's name, is not known.
        FileNotFoundError: its files are not there.

    >>> load("linear", n=50, features=2)
    NamedData('linear': train (50, 2), valid (10, 2), test (10, 2))
    """
    if name not in NAMES:
        if name in OBTAINABLE:
            raise ValueError(
                f"data.load: {name!r} is not made of pairs (X, y), so that it cannot be loaded by name; `thalweg data "
                f"{name}` obtains its files."
            )
        raise unknown_name("data.load", "data set", name, NAMES)
    known = inspect.signature(NAMES[name]).parameters
    for argument in arguments:
        if argument not in known:
            raise unknown_name(f"data.load({name!r})", "argument", argument, known)
    return NAMES[name](**arguments)
