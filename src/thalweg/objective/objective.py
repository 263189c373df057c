"""E(params, buffers, batch, rng): a model and a loss as a pure function of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from thalweg.loss import Loss, Penalty

__all__ = ["Objective", "Parts", "logits_of"]


class Parts(Protocol):
    """A batch taken apart, as ``thalweg.data.split`` does it: what goes into the model, and what comes out of it."""

    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> Mapping[str, Any]: ...
    @property
    def target(self) -> Any: ...
    @property
    def row_weight(self) -> Tensor | None: ...


def logits_of(output: Any) -> Any:
    """Return what the loss reads: ``output.logits`` where a model returns an object with logits, else the output."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    return getattr(output, "logits", output)


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

    >>> import torch, thalweg as tw
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> objective = Objective(model, tw.loss.MSE())
    >>> batch = tw.data.split((torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])))
    >>> total, weight, _ = objective({"weight": torch.tensor([[2.0]])}, {}, batch)
    >>> float(total), int(weight)   # (2-3)^2 + (4-5)^2
    (2.0, 2)
    """

    def __init__(self, model: nn.Module, loss: Loss, penalty: Penalty | None = None) -> None:
        self.model = model
        self.loss = loss
        self.penalty_term = penalty

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
        if rng is None:
            output = torch.func.functional_call(self.model, (dict(params), own), batch.args, dict(batch.kwargs))
        else:
            with torch.random.fork_rng():
                torch.manual_seed(rng)
                output = torch.func.functional_call(self.model, (dict(params), own), batch.args, dict(batch.kwargs))
        total, weight = self.loss(logits_of(output), batch.target, batch.row_weight)
        return total, weight, own

    def eager(self, batch: Parts) -> tuple[Tensor, Tensor | int, Any]:
        """Return (sum, weight, output) through the module's own parameters."""
        output = logits_of(self.model(*batch.args, **batch.kwargs))
        total, weight = self.loss(output, batch.target, batch.row_weight)
        return total, weight, output

    def penalty(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return R(params), zero where there is no penalty."""
        if self.penalty_term is None:
            first = next(iter(params.values()), None)
            return torch.zeros((), device=None if first is None else first.device)
        return self.penalty_term(params)
