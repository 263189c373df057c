r"""Logits that were never made: the hidden states and the head that would make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

__all__ = ["Projected"]


@dataclass(frozen=True, eq=False)
class Projected:
    r"""The output of a model before its last linear layer, together with that layer.

    .. math:: o = c \tanh\!\left(\frac{s\, h W^\top + b}{c}\right) \qquad\text{without a cap}\qquad o = s\, h W^\top + b

    It stands where logits would stand. The losses over tokens read it chunk by chunk, so that the (N, V) logits and
    their gradient are never in memory as a whole. The weight may be the embedding's own (tied): autograd adds the two
    gradients. It is a pytree node, so ``torch.func`` looks into it.

    Args:
        hidden: (..., D), the hidden states; floating point.
        weight: (V, D), the head's weight.
        bias: (V,), or None.
        scale: :math:`s`, what the model multiplies its hidden states with before the head (T5 with tied embeddings:
            :math:`D^{-1/2}`).
        softcap: :math:`c` > 0, the model's own cap on its logits, or None.

    Shapes: ``shape`` is that of the logits, (..., V).

    >>> import torch
    >>> head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> output = Projected(torch.tensor([[1.0, 2.0]]), head)
    >>> output.shape, output.logits().tolist()
    (torch.Size([1, 3]), [[1.0, 2.0, 3.0]])
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def shape(self) -> torch.Size:
        """The shape of the logits, (..., V)."""
        return torch.Size((*self.hidden.shape[:-1], self.weight.shape[0]))

    def scaled(self) -> Tensor:
        """Return the hidden states times ``scale``, (..., D)."""
        return self.hidden if self.scale == 1.0 else self.hidden * self.scale

    def logits(self) -> Tensor:
        """Return the logits themselves, (..., V): as large as the vocabulary makes them."""
        logits = torch.nn.functional.linear(self.scaled(), self.weight, self.bias)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def _flatten(output: Projected) -> tuple[list[Any], Any]:
    return [output.hidden, output.weight, output.bias], (output.scale, output.softcap)


def _unflatten(parts: Any, context: Any) -> Projected:
    return Projected(*parts, *context)


_pytree.register_pytree_node(Projected, _flatten, _unflatten)
