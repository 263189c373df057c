"""Evaluation with the weights an averaging rule means, batch statistics re-estimated for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from thalweg.data import Source, split
from thalweg.engine import RuleOptimizer

if TYPE_CHECKING:
    from .run import Run

__all__ = ["averaging", "reestimated"]


def averaging(run: Run) -> Callable[[], AbstractContextManager[None]] | None:
    """Return what holds the evaluation weights, or None where the rule evaluates what it trains."""
    optimizer = run.optimizer
    if not isinstance(optimizer, RuleOptimizer) or not optimizer.rule.averages:
        return None

    @contextmanager
    def evaluation_weights() -> Iterator[None]:
        with optimizer.evaluating(), reestimated(run.module, run.source, run.epoch):
            yield

    return evaluation_weights


@contextmanager
def reestimated(module: nn.Module, source: Source, epoch: int = 0) -> Iterator[None]:
    """Hold batch statistics estimated anew for the present weights over *source*; put the old ones back afterwards.

    Averaged weights have never seen a forward pass, so running means and variances of the training weights do not
    belong to them (Izmailov et al., *Averaging Weights Leads to Wider Optima*, UAI 2018, section 3.2).
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        yield
        return
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    with torch.no_grad(), torch.random.fork_rng():
        for batch in source.batches(epoch):
            parts = split(batch)
            module(*parts.args, **parts.kwargs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for m, training in modes:
        m.training = training
    try:
        yield
    finally:
        for norm, buffers in zip(norms, before, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
