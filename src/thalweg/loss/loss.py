r"""What a loss is: a sum and the weight to divide it by.

Micro-batches, processes and masks may hold different amounts of data, so the mean of their means is not the mean. Every
loss therefore returns its sum :math:`S` and its weight :math:`W`, and the loop divides once:

.. math:: L = \frac{\sum_i S_i}{\sum_i W_i}

over everything one update sees. :math:`0/0` (nothing to learn from: every row masked or ignored) is loss 0 with
gradient 0, where torch's ``reduction="mean"`` gives NaN.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from thalweg.loss.activation import Activation, activate, check_activation

__all__ = ["Loss", "full_precision"]

Weight = Tensor | int

_HALF = (torch.float16, torch.bfloat16)


class Loss(ABC):
    """A loss as (sum, weight). Subclasses are frozen dataclasses whose fields are the loss's options.

    Before the first step a loop calls, in this order, ``check`` and ``specialise``; after that it calls only the loss
    itself, which contains no Python that depends on tensor values and so works inside ``torch.func.grad``, ``vmap`` and
    ``torch.compile(fullgraph=True)``.

    Attributes:
        activation: How ``predict`` turns outputs into predictions; each loss has its own, and ``activation=``
            replaces it.
    """

    activation: Activation

    def __post_init__(self) -> None:
        check_activation(type(self).__name__, self.activation)

    @abstractmethod
    def __call__(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        """Return the sum over the batch and its weight.

        Args:
            output: What the model returned, (B, ...). Half-precision outputs are summed in float32, because a sum over
                a batch exceeds float16's largest number, 65504, easily.
            target: What it should have returned; shapes and dtypes as the loss says.
            row_weight: (B,), finite and >= 0, or a bool mask; multiplies each row's sum *and* weight. A row of weight 0
                contributes nothing to the sum, the weight and the gradient, even where it holds NaN (a user's own loss
                cannot promise the last).

        Returns:
            The sum, a 0-dim tensor, and the weight: a Python ``int`` where it is known without looking at the values
            (nothing is computed), else a 0-dim tensor on the same device.
        """

    @abstractmethod
    def per_row(self, output: Tensor, target: Tensor) -> tuple[Tensor, Weight]:
        """Return the (B,) sums of the rows and their (B,) weights, or one ``int`` where each row weighs the same."""

    @abstractmethod
    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        """Raise where a batch cannot work. Looks at the values (syncs): called before the first step only."""

    def specialise(self, output: Tensor, target: Tensor, targets: Tensor | None = None) -> Loss:
        """Return the same loss made ready for a run: the same numbers, with less to compute per step.

        Constants such as class weights move to the device and dtype of *output*. Where *targets*, everything the run
        will ever pass as a target, is in memory, it is looked through once: bad values are refused before training, and
        a class-index loss that finds nothing to ignore returns its weight as a plain ``int`` from then on.

        Args:
            output: The output for an example batch.
            target: The target of that batch.
            targets: All targets of the data, (N, ...), or None where they cannot be looked through. The result is for
                these targets only: specialise again for other data (validation).

        Raises:
            ValueError: *targets* holds a value that cannot work (named with its row).
        """
        return self

    @property
    def splittable(self) -> bool:
        """Whether sums and weights of parts of a batch add up to those of the whole."""
        return True

    def require_splittable(self, reason: str) -> None:  # noqa: B027  # most losses always can
        """Raise unless the loss may be computed in parts.

        Args:
            reason: What splits the batch, e.g. ``"accumulate=4"``; goes into the message.

        Raises:
            ValueError: The loss has no weight to divide by (see ``Custom``).
        """

    def predict(self, output: Any) -> Any:
        """Return the predictions for *output*: the activation applied."""
        return activate(self.activation, output)

    def weigh_rows(self, output: Any, target: Any, row_weight: Tensor, *, blank: bool = True) -> tuple[Tensor, Weight]:
        """Return the sum and weight with each row multiplied by *row_weight* (B,).

        Args:
            output: What the model returned.
            target: What it should have returned.
            row_weight: (B,) weights or a bool mask.
            blank: Put zeros where the weight is 0, in output and target, so that no NaN in such a row reaches the
                gradient either. False where zeros may not be valid (a loss of unknown form).
        """
        if blank and row_weight.shape == output.shape[:1]:
            kept = row_weight != 0
            output = torch.where(kept.view(-1, *(1,) * (output.dim() - 1)), output, 0)
            target = torch.where(kept.view(-1, *(1,) * (target.dim() - 1)), target, 0)
        sums, weights = self.per_row(output, target)
        if row_weight.shape != sums.shape:
            raise ValueError(
                f"{type(self).__name__}: row_weight has shape {tuple(row_weight.shape)} for a batch of {sums.shape[0]} "
                f"rows; each row has one weight, so pass shape ({sums.shape[0]},)."
            )
        row_weight = row_weight.to(sums.dtype)
        # where, not only *: a row left out may hold an infinite loss, and 0 * inf is NaN
        total = torch.where(row_weight == 0, 0.0, sums * row_weight).sum()
        if isinstance(weights, int):
            return total, row_weight.sum() * weights
        return total, (weights * row_weight).sum()


def full_precision(output: Tensor) -> Tensor:
    """Return *output*, as float32 where it is float16 or bfloat16.

    >>> full_precision(torch.zeros(2, dtype=torch.bfloat16)).dtype, full_precision(torch.zeros(2).double()).dtype
    (torch.float32, torch.float64)
    """
    return output.float() if output.dtype in _HALF else output
