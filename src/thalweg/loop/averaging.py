"""Evaluation with the weights an averaging rule means, batch statistics re-estimated for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from thalweg.data import Source, split
from thalweg.engine import RuleOptimizer

from .modes import held_norms

if TYPE_CHECKING:
    from .run import Run

__all__ = ["averages", "averaging", "estimated", "evaluation_statistics", "holding"]


def averages(optimizer: torch.optim.Optimizer) -> TypeGuard[RuleOptimizer]:
    """Tell whether the rule evaluates other weights than those it trains."""
    return isinstance(optimizer, RuleOptimizer) and optimizer.rule.averages


def averaging(run: Run) -> Callable[[], AbstractContextManager[None]] | None:
    """Return what holds the evaluation weights, or None where the rule evaluates what it trains."""
    optimizer = run.optimizer
    if not averages(optimizer):
        return None

    @contextmanager
    def evaluation_weights() -> Iterator[None]:
        with optimizer.evaluating():
            buffers = estimated(run.module, run.source, run.epoch, optimizer)
            with holding(run.module, buffers):
                yield

    return evaluation_weights


def evaluation_statistics(run: Run) -> dict[str, Tensor]:
    """Return the batch statistics that belong to the evaluation weights as they stand; empty where there are none."""
    if not averages(run.optimizer):
        return {}
    with run.optimizer.evaluating():
        return estimated(run.module, run.source, max(run.epoch - 1, 0), run.optimizer)


def estimated(
    module: nn.Module, source: Source, epoch: int = 0, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Tensor]:
    """Return name → buffer of the batch-norm layers, estimated over *source* for the present weights.

    Averaged weights have never seen a forward pass, so running means and variances of the training weights do not
    belong to them (Izmailov et al., *Averaging Weights Leads to Wider Optima*, UAI 2018, section 3.2). Frozen layers
    keep what they have; the module is left as it was, also where the data fail on the way.
    """
    held = {id(norm) for norm in held_norms(module, optimizer)}
    norms = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats and id(part) not in held
    }
    if not norms:
        return {}
    before = {f"{path}.{name}": b.clone() for path, norm in norms.items() for name, b in norm.named_buffers()}
    momenta = [norm.momentum for norm in norms.values()]
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over all batches
            norm.train()
        with torch.no_grad(), torch.random.fork_rng():
            for batch in source.batches(epoch):
                parts = split(batch)
                module(*parts.args, **parts.kwargs)
        return {name: module.get_buffer(name).clone() for name in before}
    finally:
        for norm, momentum in zip(norms.values(), momenta, strict=True):
            norm.momentum = momentum
        for part, training in modes:
            part.training = training
        _fill(module, before)


@contextmanager
def holding(module: nn.Module, buffers: Mapping[str, Tensor]) -> Iterator[None]:
    """Hold other values in the named buffers, and put the old ones back afterwards."""
    before = {name: module.get_buffer(name).clone() for name in buffers}
    try:
        _fill(module, buffers)
        yield
    finally:
        _fill(module, before)


def _fill(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, value in buffers.items():
        module.get_buffer(name).copy_(value)
