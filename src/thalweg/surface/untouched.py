"""Looking at a model without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ..checkpoint import restore_rng, snapshot_rng
from ..loop import eval_mode

__all__ = ["untouched"]


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Hold *module* in evaluation mode; afterwards modes, parameters, buffers and generators are as before.

    The functional form swaps a module's tensors for others while it runs. What is kept here are the very objects, so
    that they are back in their places also after an exception or Ctrl-C in the middle of a swap, and no value is
    copied: nothing here writes into them.

    >>> model = nn.Linear(1, 1).train()
    >>> weight = model.weight
    >>> with untouched(model):
    ...     model._parameters["weight"] = nn.Parameter(weight.detach() + 1)
    ...     model.training
    False
    >>> model.weight is weight, model.training
    (True, True)
    """
    rng = snapshot_rng()
    held = [(part, dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    forwards = [(part, "forward" in vars(part), vars(part).get("forward")) for part, _, _ in held]
    try:
        with eval_mode(module):
            yield
    finally:
        for part, parameters, buffers in held:
            part._parameters.clear()
            part._parameters.update(parameters)
            part._buffers.clear()
            part._buffers.update(buffers)
        for part, had, forward in forwards:
            if had:
                vars(part)["forward"] = forward
            else:
                vars(part).pop("forward", None)
        restore_rng(*rng)
