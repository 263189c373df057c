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

__all__ = ["draw_apart", "share_out", "sharers"]

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
    _check_exchange(learner, "fit")
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
    draw_apart(processes)
    mine = _share(source, processes)
    held = None if valid is None else _share(valid, processes)
    return mine, held, replace(settings, verbose=settings.verbose and processes.is_first)


def _check_exchange(learner: Held, who: str) -> None:
    """Raise where processes cannot make one step together."""
    if any(is_sharded(param) for param in learner.module.parameters()):
        raise ValueError(
            f"{who}: the parameters are sharded (fully_shard), and {who} exchanges the gradients of whole ones; take "
            "rule, schedule and loss in a loop of your own, where rule.optimizer(model.parameters()) updates shards, "
            "or leave the model whole."
        )
    if isinstance(learner.optimizer, torch.optim.LBFGS):
        raise ValueError(
            f"{who}: LBFGS evaluates the loss several times within a step, which the processes would have to do "
            "together; train in one process, or choose another optimizer."
        )


def draw_apart(processes: Processes) -> None:
    """Let what the model draws differ from rank to rank; the first goes on as one process would."""
    if processes.rank:
        torch.manual_seed((torch.initial_seed() + processes.rank * _RANK) % (1 << 62))


def sharers(learner: Held, source: Source, who: str) -> Processes | None:
    """Return the processes that the source's rows are shared out among, or None where each of them reads all.

    Raises:
        ValueError: they are not the processes that are there, have different numbers of batches, or cannot make one
            step together.
    """
    processes = Processes.present(learner.device)
    if processes is None or not _is_shared(source, processes, who):
        return None
    _check_exchange(learner, who)
    return processes


def _is_shared(source: Source, processes: Processes, who: str) -> bool:
    """Whether the source gives this process its share only."""
    sampler = getattr(getattr(source, "loader", None), "sampler", None)
    if isinstance(source, LoaderSource) and isinstance(sampler, DistributedSampler):
        mine = (sampler.rank, sampler.num_replicas)
        counts = processes.gather(source.steps_per_epoch)
        if len(set(counts)) > 1:
            raise ValueError(
                f"{who}: the processes' loaders have {', '.join(map(str, counts))} batches, by rank, so that some "
                "would wait for others; give every process as many (DistributedSampler does)."
            )
    elif isinstance(source, (RankSource, StreamSource)):  # streams know their rank by themselves
        mine = (source.rank, source.world_size)
    else:
        return False
    if mine == (0, 1):
        return False
    if mine != (processes.rank, processes.world_size):
        raise ValueError(
            f"{who}: the data are process {mine[0]}'s share of {mine[1]}, but this is process {processes.rank} of "
            f"{processes.world_size}; leave rank and world size out, so that they are those of torch.distributed."
        )
    return True


def _share(source: Source, processes: Processes) -> Source:
    if _is_shared(source, processes, "fit"):
        return source
    return RankSource(source, processes.rank, processes.world_size)
