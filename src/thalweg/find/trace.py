"""Trying something out on a model without leaving a trace."""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import restore_rng, snapshot_rng
from ..data import Source

__all__ = ["Draws", "Snapshot", "equal_batches", "no_trace"]


class Draws:
    """Where randomness and the data order stand: global generators, those held by the data or the model, positions."""

    def __init__(self, sources: list[Source], module: nn.Module) -> None:
        self._rng = snapshot_rng()
        objects = [item for source in sources for item in _parts_of(source)]
        self._attributes = [(item, _plain_attributes(item)) for item in objects]
        self._generators = [(g, _read(g)) for g in _generators_of([*objects, *module.modules()])]

    def restore(self) -> None:
        """Set all of them back."""
        restore_rng(*self._rng)
        for item, attributes in self._attributes:
            vars(item).update(attributes)
        for generator, state in self._generators:
            _write(generator, state)


class Snapshot:
    """Everything that training changes, as it was: weights, buffers, rule state, generators, modes, the sampler.

    What is kept: every parameter and buffer (also those outside ``state_dict``), their gradients, ``requires_grad`` and
    training mode; the optimizer's groups and state; torch's, NumPy's and Python's global generators; generators that
    the source, its loader, sampler and data set or the model's modules hold as attributes, and what these remember as
    plain attributes (a ``DistributedSampler``'s epoch). What a model keeps elsewhere (a list it appends to) is not
    known here.

    Args:
        module: the model.
        optimizer: over its parameters.
        sources: what batches come from.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, sources: list[Source]) -> None:
        self.module, self.optimizer = module, optimizer
        with torch.no_grad():
            self._tensors = [(t, t.detach().clone()) for t in (*module.parameters(), *module.buffers())]
        self._params = [(p, p.requires_grad, p.grad) for p in module.parameters()]
        self._modes = [(m, m.training) for m in module.modules()]
        self._groups = [dict(group) for group in optimizer.param_groups]
        self._state = optimizer.state
        self._rounder = getattr(optimizer, "rounder", None)
        self._rounding = None if self._rounder is None else copy.deepcopy(self._rounder.state())
        self._norm = getattr(optimizer, "last_norm", None)
        self._draws = Draws(sources, module)
        # The trial works on a copy, so that the real state is not even touched.
        optimizer.state = self._copy_of_state()

    def _copy_of_state(self) -> Any:
        copied: Any = defaultdict(dict)
        for key, value in self._state.items():
            copied[key] = copy.deepcopy(value)
        return copied

    @torch.no_grad()
    def rewind(self) -> None:
        """Go back to the snapshot in order to try again: everything is restored, the snapshot stays in force."""
        for tensor, value in self._tensors:
            tensor.copy_(value)
        for param, requires_grad, _ in self._params:
            param.requires_grad_(requires_grad)
            param.grad = None
        for module, training in self._modes:
            module.training = training
        for group, kept in zip(self.optimizer.param_groups, self._groups, strict=True):
            for name in [name for name in group if name not in kept]:
                del group[name]
            group.update(kept)
        if self._rounder is not None:
            self._rounder.load_state(self._rounding)
        self._draws.restore()
        self.optimizer.state = self._copy_of_state()

    def restore(self) -> None:
        """Put everything back for good, the rule's own state objects and gradients included."""
        self.rewind()
        self.optimizer.state = self._state
        for param, _, grad in self._params:
            param.grad = grad
        if hasattr(self.optimizer, "last_norm"):
            self.optimizer.last_norm = self._norm


@contextmanager
def no_trace(module: nn.Module, optimizer: torch.optim.Optimizer, *sources: Source) -> Iterator[Snapshot]:
    """Put everything back on leaving, bit for bit, also after an exception or Ctrl-C.

    >>> import thalweg as tw
    >>> model = nn.Linear(1, 1)
    >>> before = model.weight.item()
    >>> with no_trace(model, tw.optim.SGD(lr=1.0).optimizer(model.parameters())):
    ...     _ = model.weight.data.fill_(7.0)
    >>> model.weight.item() == before
    True
    """
    snapshot = Snapshot(module, optimizer, [source for source in sources if source is not None])
    try:
        yield snapshot
    finally:
        snapshot.restore()


def _parts_of(source: Source) -> list[Any]:
    """Return the source and what it draws from: loader, samplers, data set."""
    found: list[Any] = [source]
    for name in ("loader", "dataset", "sampler", "batch_sampler", "collate_fn"):
        for holder in list(found):
            item = getattr(holder, name, None)
            if item is not None and hasattr(item, "__dict__") and not any(item is other for other in found):
                found.append(item)
    inner = [getattr(item, "dataset", None) for item in found]  # a Subset's data set
    return found + [item for item in inner if hasattr(item, "__dict__") and not any(item is other for other in found)]


def _plain_attributes(item: Any) -> dict[str, Any]:
    kinds = (int, float, str, bool, type(None), tuple)
    # A source is ours and small: its position is more than plain values.
    keep_all = isinstance(item, Source)
    return {name: value for name, value in vars(item).items() if keep_all or isinstance(value, kinds)}


_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _generators_of(holders: list[Any]) -> list[Any]:
    found: dict[int, Any] = {}
    for holder in holders:
        for value in vars(holder).values():
            for item in value if isinstance(value, (list, tuple)) and len(value) < 64 else (value,):
                if isinstance(item, _KINDS):
                    found[id(item)] = item
    return list(found.values())


def _read(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state().clone()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return copy.deepcopy(generator.bit_generator.state)


def _write(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = copy.deepcopy(state)


def equal_batches(first: Any, second: Any) -> bool:
    """Whether two batches hold the same values; what is no tensor counts as equal."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and bool(((first == second) | (first != first)).all())
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal_batches(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(equal_batches, first, second))
    return True
