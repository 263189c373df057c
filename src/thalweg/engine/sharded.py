"""Parameters that are sharded over processes (FSDP2's ``fully_shard``), and the rules that cannot update them."""

from __future__ import annotations

import sys

from torch import Tensor

from thalweg.optim import Rule

__all__ = ["check_sharded", "is_sharded"]


def is_sharded(param: Tensor) -> bool:
    """Return whether *param* is a ``DTensor``.

    >>> import torch
    >>> is_sharded(torch.zeros(3))
    False
    """
    module = sys.modules.get("torch.distributed.tensor")  # where nothing is sharded, it has not been imported
    return module is not None and isinstance(param, module.DTensor)


def check_sharded(rule: Rule, param: Tensor) -> None:
    """Raise where a rule that needs whole tensors is to update a sharded one.

    Rules that treat elements one by one work on each process's part; a rule that looks at rows, columns or the matrix
    would take its part for the whole.

    Raises:
        ValueError: naming the rule.
    """
    if rule.scope == "element" or not is_sharded(param):
        return
    mesh = param.device_mesh  # type: ignore[attr-defined]
    raise ValueError(
        f"{type(rule).__name__}: looks at a whole {rule.scope} of weights, but a parameter of shape "
        f"{tuple(param.shape)} is sharded over {mesh.size()} processes; choose a rule that treats elements one by one "
        "(AdamW, SGD, Lion), or do not shard."
    )
