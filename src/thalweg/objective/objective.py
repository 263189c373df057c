"""E(params, buffers, batch, rng): a model and a loss as a pure function of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.loss import Loss, Penalty

from .head import Head
from .inputs import Inputs, Parts
from .logits import logits_of

__all__ = ["Objective"]


class Objective:
    r"""A model and a loss as a function of the parameters.

    .. math:: E(w) = \frac{\sum_i \ell_i(w)}{\sum_i a_i} + R(w)

    The call is the functional form and returns numerator, denominator and the buffers afterwards; the division, and the
    penalty :math:`R`, belong to whoever adds batches up. :meth:`eager` is the same through the module's own parameters,
    which autograd differentiates.

    Args:
        model: any module; its output (or ``output.logits``) goes to the loss.
        loss: returns (sum, weight).
        penalty: added once, after the division, or None.
        head: the model's last layer, to be left to the loss: it is then given a ``Projected`` instead of logits; None
            leaves the model whole.

    >>> import torch, thalweg as tw
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> objective = Objective(model, tw.loss.MSE())
    >>> batch = tw.data.split((torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])))
    >>> total, weight, _ = objective({"weight": torch.tensor([[2.0]])}, {}, batch)
    >>> float(total), int(weight)   # (2-3)^2 + (4-5)^2
    (2.0, 2)
    """

    def __init__(self, model: nn.Module, loss: Loss, penalty: Penalty | None = None, head: Head | None = None) -> None:
        self.model = model
        self.loss = loss
        self.penalty_term = penalty
        self.head = head
        self._inputs = Inputs(model)

    def __call__(
        self,
        params: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: Parts,
        rng: int | None = None,
    ) -> tuple[Tensor, Tensor | int, dict[str, Tensor]]:
        """Return (sum, weight, buffers) at *params*; the module's own tensors are neither read nor changed.

        Args:
            params: every parameter by name.
            buffers: every buffer by name; the given tensors are not changed.
            batch: a batch taken apart.
            rng: seed of the model's own randomness (dropout), or None for the global generator.
        """
        own = {name: buffer.clone() for name, buffer in buffers.items()}
        args, kwargs = self._inputs(batch)

        def call() -> Any:
            return torch.func.functional_call(self.model, (dict(params), own), args, dict(kwargs))

        if rng is None:
            output = self._read(call)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(rng)
                output = self._read(call)
        total, weight = self.loss(output, batch.target, batch.row_weight)
        return total, weight, own

    def _read(self, call: Any) -> Any:
        """Return what the loss reads of the model's output."""
        return logits_of(call()) if self.head is None else self.head.project(call)

    def eager(self, batch: Parts) -> tuple[Tensor, Tensor | int, Any]:
        """Return (sum, weight, output) through the module's own parameters."""
        output = self.output(batch)
        total, weight = self.loss(output, batch.target, batch.row_weight)
        return total, weight, output

    def output(self, batch: Parts) -> Any:
        """Return what the loss reads, through the module's own parameters."""
        args, kwargs = self._inputs(batch)
        if self.head is None:
            return logits_of(self.model(*args, **kwargs))
        return self.head.project(lambda: self.model(*args, **kwargs))

    def penalty(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return R(params), zero where there is no penalty."""
        if self.penalty_term is None:
            first = next(iter(params.values()), None)
            return torch.zeros((), device=None if first is None else first.device)
        return self.penalty_term(params)
