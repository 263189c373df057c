r"""How the output of a model becomes a prediction.

A loss is computed on raw outputs (logits) because that is stable; a user wants probabilities. The loss therefore
knows its inverse link, and ``predict`` applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from thalweg.errors import unknown_name

__all__ = ["ACTIVATIONS", "Activation", "activate", "check_activation"]

Activation = Literal["softmax", "sigmoid", "exp", "none"] | Callable[[Any], Any]

ACTIVATIONS: tuple[str, ...] = ("softmax", "sigmoid", "exp", "none")


def activate(activation: Activation, output: Any) -> Any:
    r"""Apply *activation* to the output of a model.

    ==============  =============================================  ===========================================
    activation      prediction                                     outputs are
    ==============  =============================================  ===========================================
    ``"softmax"``   :math:`e^{o_c} / \sum_k e^{o_k}` over dim 1    logits or log-probabilities, (B, C, ...)
    ``"sigmoid"``   :math:`1 / (1 + e^{-o})`                       logits of independent labels, any shape
    ``"exp"``       :math:`e^{o}`                                  logarithms (Poisson rates), any shape
    ``"none"``      :math:`o`                                      predictions already
    a callable      its value                                      whatever the callable takes
    ==============  =============================================  ===========================================

    >>> activate("softmax", torch.tensor([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    >>> activate("sigmoid", torch.tensor([0.0])).tolist()
    [0.5]
    """
    if activation == "none":
        return output
    if activation == "softmax":
        return torch.softmax(output, 1)
    if activation == "sigmoid":
        return torch.sigmoid(output)
    if activation == "exp":
        return torch.exp(output)
    assert callable(activation)
    return activation(output)


def check_activation(where: str, activation: object) -> None:
    """Raise unless *activation* is one of the names above or a callable.

    Raises:
        ValueError: an unknown name or another kind of object.

    >>> check_activation("Custom", "softmx")
    Traceback (most recent call last):
    ...
    ValueError: Custom: unknown activation 'softmx'. Did you mean 'softmax'? Known: exp, none, sigmoid, softmax.
    """
    if callable(activation) or (isinstance(activation, str) and activation in ACTIVATIONS):
        return
    raise unknown_name(where, "activation", activation, ACTIVATIONS)
