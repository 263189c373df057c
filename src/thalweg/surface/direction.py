r"""Directions in parameter space: drawn at random, filter-normalised, or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import unknown_name
from .weights import Weights, weights_of

__all__ = [
    "NORMALISATIONS",
    "check_direction",
    "filter_normalised",
    "given_direction",
    "normalised",
    "random_direction",
]

NORMALISATIONS = ("filter", "layer", "unit", "none")


def random_direction(like: Mapping[str, Tensor], seed: int, moved: Mapping[str, bool] | None = None) -> Weights:
    """Return independent standard normal numbers in the shape of *like*; the global generators are not used.

    Args:
        like: tensors by name.
        seed: of the numbers, which are the same on every device.
        moved: name → whether it moves at all; zeros where it does not.

    >>> random_direction({"w": torch.zeros(2)}, seed=0)["w"]
    tensor([ 1.5410, -0.2934])
    """
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, tensor in like.items():
        drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
        if moved is not None and not moved[name]:
            drawn = torch.zeros(tensor.shape)
        direction[name] = drawn.to(device=tensor.device, dtype=tensor.dtype)
    return direction


def filter_normalised(direction: Mapping[str, Tensor], center: Mapping[str, Tensor]) -> Weights:
    r"""Return *direction* with each filter scaled to the norm of the same filter of *center*.

    .. math:: d_{i,j} \leftarrow \frac{d_{i,j}}{\lVert d_{i,j} \rVert} \lVert \theta_{i,j} \rVert

    where :math:`j` counts the filters of layer :math:`i`: the first dimension of a weight (what makes one output
    channel of a convolution, one neuron of a linear layer; norms are over all the rest). Biases and the weights of
    normalisation layers, which have one number per channel, do not move, as in the paper's figures: ``d = 0`` there.

    A filter of *center* that is all zeros gets a direction of zeros.

    Source: Li, Xu, Taylor, Studer & Goldstein, *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018, section
    4; the treatment of one-dimensional parameters is that of the code published with it.

    >>> center = {"weight": torch.tensor([[3.0, 4.0], [0.0, 2.0]]), "bias": torch.ones(2)}
    >>> direction = {"weight": torch.tensor([[1.0, 0.0], [0.0, 7.0]]), "bias": torch.ones(2)}
    >>> filter_normalised(direction, center)
    {'weight': tensor([[5., 0.],
            [0., 2.]]), 'bias': tensor([0., 0.])}
    """
    return {
        name: torch.zeros_like(d) if d.dim() <= 1 else _rescaled(d, center[name], tuple(range(1, d.dim())))
        for name, d in direction.items()
    }


def _rescaled(d: Tensor, like: Tensor, dims: tuple[int, ...] | None) -> Tensor:
    norm = torch.linalg.vector_norm(d, dim=dims, keepdim=True)
    wanted = torch.linalg.vector_norm(like, dim=dims, keepdim=True)
    return torch.where(norm > 0, d * (wanted / norm), torch.zeros_like(d))


def normalised(who: str, direction: Mapping[str, Tensor], center: Mapping[str, Tensor], how: str) -> Weights:
    """Return *direction* scaled in one of the known ways.

    Args:
        who: the function, for messages.
        direction: tensors by name.
        center: the point whose norms are taken.
        how: ``"filter"`` (:func:`filter_normalised`); ``"layer"``: each tensor has the norm of the centre's;
            ``"unit"``: the whole has norm 1; ``"none"``.

    Raises:
        ValueError: an unknown way, or one that leaves nothing that moves.
    """
    if how not in NORMALISATIONS:
        raise unknown_name(who, "normalisation", how, NORMALISATIONS)
    if how == "filter":
        scaled = filter_normalised(direction, center)
        if not any(bool(d.any()) for d in scaled.values()):
            raise ValueError(
                f"{who}: filter normalisation leaves nothing that moves: every weight of two or more dimensions is "
                "zero or held fixed, and the others do not move; use normalize='unit'."
            )
        return scaled
    if how == "layer":
        return {name: _rescaled(d, center[name], None) for name, d in direction.items()}
    if how == "unit":
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d).double() for d in direction.values()]))
        return {name: (d / norm).to(d.dtype) for name, d in direction.items()}
    return {name: d.clone() for name, d in direction.items()}


def given_direction(who: str, what: str, given: Any, like: Mapping[str, Tensor]) -> Weights:
    """Return a direction that the user gave, checked: a mapping by name, a flat vector, or a module's parameters.

    Raises:
        ValueError: another shape than the model, values that are not finite, or length zero.
    """
    direction, _ = weights_of(who, what, given, like)
    check_direction(who, what, direction)
    return direction


def check_direction(who: str, what: str, direction: Mapping[str, Tensor]) -> None:
    """Raise for a direction that leads nowhere.

    Raises:
        ValueError: all zeros, or NaN or infinite somewhere.
    """
    for name, d in direction.items():
        if not bool(torch.isfinite(d).all()):
            raise ValueError(f"{who}: {what} holds values in {name!r} that are NaN or infinite; pass finite ones.")
    if not any(bool(d.any()) for d in direction.values()):
        raise ValueError(
            f"{who}: {what} has length zero, so that every point would be the same; pass a direction that moves."
        )
