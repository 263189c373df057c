"""Giving every process its share of a fit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.utils.data.distributed import DistributedSampler

from thalweg.data import LoaderSource, Source
from thalweg.data.ranked import RankSource
from thalweg.data.streams import StreamSource
from thalweg.engine.sharded import is_sharded
from thalweg.loop import Hook, Processes, Settings
from thalweg.loop.hooks import replaces_step

from .held import Held

__all__ = ["share_out"]

_RANK = 0xC2B2AE3D27D4EB4F  # odd, so that every rank has a seed of its own


def share_out(
    processes: Processes,
    learner: Held,
    settings: Settings,
    source: Source,
    valid: Source | None,
    hooks: Sequence[Hook],
) -> tuple[Source, Source | None, Settings]:
    """Return this process's share of the data, and settings that let only the first one speak.

    The batch size counts the rows of all processes together, so that the same settings give the same training.

    Raises:
        ValueError: a batch has fewer rows than there are processes, validation has fewer, the step is replaced by a
            hook, or the parameters are sharded.
    """
    for hook in hooks:
        if replaces_step(hook):
            raise ValueError(
                f"fit: {type(hook).__name__} replaces the step, in which the processes exchange gradients; wrap the "
                "model in DistributedDataParallel in a loop of your own, or train in one process."
            )
    if any(is_sharded(param) for param in learner.module.parameters()):
        raise ValueError(
            "fit: the parameters are sharded (fully_shard), and fit exchanges the gradients of whole ones; take rule, "
            "schedule and loss in a loop of your own, where rule.optimizer(model.parameters()) updates shards, or "
            "leave the model whole."
        )
    if isinstance(learner.optimizer, torch.optim.LBFGS):
        raise ValueError(
            "fit: LBFGS evaluates the loss several times within a step, which the processes would have to do together; "
            "train in one process, or choose another optimizer."
        )
    if valid is not None and valid.n is not None and valid.n < processes.world_size:
        raise ValueError(
            f"fit: {valid.n} rows of validation do not go round {processes.world_size} processes; validate on more "
            "rows, or start fewer processes."
        )
    norms = [n for n, part in learner.module.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if norms and processes.is_first:
        warnings.warn(
            f"fit: {norms[0]} and {len(norms) - 1} others take batch statistics of each process's own rows, so that "
            "training differs from that of one process.",
            stacklevel=4,
        )
    if processes.rank:  # what the model draws differs from rank to rank; the first goes on as one process would
        torch.manual_seed((torch.initial_seed() + processes.rank * _RANK) % (1 << 62))
    mine = _share(source, processes)
    held = None if valid is None else _share(valid, processes)
    return mine, held, replace(settings, verbose=settings.verbose and processes.is_first)


def _share(source: Source, processes: Processes) -> Source:
    if isinstance(source, (RankSource, StreamSource)):  # streams know their rank by themselves
        return source
    sampler = getattr(getattr(source, "loader", None), "sampler", None)
    if isinstance(source, LoaderSource) and isinstance(sampler, DistributedSampler):
        return source
    return RankSource(source, processes.rank, processes.world_size)
