"""What a surface is drawn of: a model, its loss and data, at the weights that evaluation uses."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .. import data as datas
from ..data import MemorySource, Source, Split, split
from ..loop import Precision
from ..loss import Loss, Penalty
from ..objective import Inputs, Objective, follow_model, logits_of
from .untouched import untouched
from .weights import Weights

__all__ = ["Landscape", "Trained", "landscape"]

_ROWS = 1024


@runtime_checkable
class Trained(Protocol):
    """What the functions of this package take: a learner, or anything else with these attributes."""

    @property
    def module(self) -> nn.Module: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def penalty(self) -> Penalty | None: ...
    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Landscape:
    r"""The surface :math:`E(\theta)` of a model over data.

    Attributes:
        objective: the plain module, the loss made ready for these data, the penalty.
        source: the data, in their own order.
        params: the weights that evaluation uses, copies.
        buffers: likewise.
        trains: name → whether the parameter requires a gradient; directions that are drawn move only these (all, where
            none does).
        precision: number format.
    """

    objective: Objective
    source: Source
    params: Weights
    buffers: Weights
    trains: Mapping[str, bool]
    precision: Precision

    def parts(self, batch: Any) -> Split:
        """Return a batch taken apart, with what follows from it for the model (an encoder–decoder's input)."""
        return _parts(self.objective.model, batch)

    @property
    def module(self) -> nn.Module:
        """The plain module."""
        return self.objective.model

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """The widest floating type among the parameters."""
        dtypes = [tensor.dtype for tensor in self.params.values() if tensor.is_floating_point()]
        return torch.float64 if torch.float64 in dtypes else torch.float32

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(tensor.numel() for tensor in self.params.values())


def landscape(who: str, of: Trained, data: Any, *, batch_size: int | None = None, seed: int | None = None) -> Landscape:
    """Return the landscape of *of* over *data*.

    Args:
        who: the function, for messages.
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``.
        data: whatever :func:`thalweg.data.source` takes.
        batch_size: rows per batch where batches are asked for; None: the data are only read.
        seed: of the batches' order; None: the order of the data.

    Raises:
        TypeError: *of* has not these attributes.
        ValueError: the model has no parameters, or model, loss and data do not fit.
    """
    missing = [name for name in ("module", "loss", "penalty", "device") if not hasattr(of, name)]
    if missing:
        hint = (
            " A model alone does not say what its loss is: tw.compile(model, loss=...)."
            if isinstance(of, nn.Module)
            else ""
        )
        raise TypeError(
            f"{who}: got a {type(of).__name__}, which has no {missing[0]!r}; pass a learner, or an object with module, "
            f"loss, penalty and device.{hint}"
        )
    module = of.module
    source = datas.source(
        data, batch_size=batch_size or _ROWS, shuffle=seed is not None, seed=seed or 0, device=of.device
    )
    precision = Precision(getattr(of, "precision", "fp32"), of.device)
    with getattr(of, "evaluating", nullcontext)():
        params = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
        buffers = {name: tensor.detach().clone() for name, tensor in module.named_buffers()}
    if not params:
        raise ValueError(f"{who}: {type(module).__name__} has no parameters, so there is no surface to see.")
    trains = {name: tensor.requires_grad for name, tensor in module.named_parameters()}
    if not any(trains.values()):
        trains = dict.fromkeys(trains, True)
    loss = _ready_loss(who, of.loss, module, source, precision)
    return Landscape(Objective(module, loss, of.penalty), source, params, buffers, trains, precision)


def _ready_loss(who: str, loss: Loss, module: nn.Module, source: Source, precision: Precision) -> Loss:
    """Check an example batch, and all targets where they are in memory; return the loss made ready for these data."""
    source.check()
    batch = source.first()
    parts = _parts(module, batch)
    if parts.target is None:
        raise ValueError(f"{who}: the data have no targets, so there is no loss to draw; pass (X, y).")
    first, again = [_output(who, module, parts, precision) for _ in range(2)]
    if not _same(first, again):
        raise ValueError(
            f"{who}: {type(module).__name__} gives different outputs for the same rows in evaluation mode, so its loss "
            "is no function of the parameters; switch its randomness off where module.training is False."
        )
    loss = follow_model(loss, module, batch, parts, first)
    loss.check(first, parts.target, parts.row_weight)
    targets = split(source.whole()).target if isinstance(source, MemorySource) else None
    return loss.specialise(first, parts.target, targets if isinstance(targets, Tensor) else None)


def _parts(module: nn.Module, batch: Any) -> Split:
    parts = split(batch)
    args, kwargs = Inputs(module)(parts)
    return parts._replace(args=args, kwargs=dict(kwargs))


def _output(who: str, module: nn.Module, parts: Split, precision: Precision) -> Any:
    # With gradients, although none is taken: a loss recognises a sigmoid inside the model by its graph.
    with untouched(module), torch.enable_grad(), precision.context():
        # A seed of its own: whether the model draws numbers must show, also where the generators are put back.
        torch.seed()
        buffers = {name: tensor.detach().clone() for name, tensor in module.named_buffers()}
        params: dict[str, Tensor] = dict(module.named_parameters())
        try:
            return logits_of(torch.func.functional_call(module, (params, buffers), parts.args, dict(parts.kwargs)))
        except (RuntimeError, TypeError, IndexError, ValueError, AttributeError) as error:
            shapes = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in parts.args]
            raise ValueError(
                f"{who}: {type(module).__name__} cannot take the data: a batch's inputs are {shapes}; the model said: "
                f"{error}. Make the shapes and dtypes fit."
            ) from error


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return True
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
