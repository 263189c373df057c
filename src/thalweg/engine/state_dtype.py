"""States in bfloat16, which are half as large."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.errors import did_you_mean
from thalweg.optim import Rule, State, Wrapper

__all__ = ["checked_state_dtype", "lowered"]

_NAMES = {"bfloat16": torch.bfloat16}


def checked_state_dtype(who: str, given: str | torch.dtype | None) -> torch.dtype | None:
    """Return the dtype that states are kept in, None for the parameter's own.

    Raises:
        ValueError: another dtype than bfloat16.

    >>> checked_state_dtype("AdamW", "bfloat16")
    torch.bfloat16
    """
    if given is None or given is torch.bfloat16:
        return given
    if str(given) in _NAMES:
        return _NAMES[str(given)]
    raise ValueError(
        f"{who}: state_dtype={given!r} must be 'bfloat16' or None; float16 has no room for squared gradients below "
        f"6e-8.{did_you_mean(str(given), _NAMES)}"
    )


def lowered(rule: Rule, state: State, param: Tensor, dtype: torch.dtype) -> State:
    """Return *state* with the moments in *dtype*: what is shaped like the parameter, counters and weights aside.

    Averages and other copies of the weights keep their precision, as the weights do: they move by less than bfloat16
    shows. Complex parameters keep theirs, because there is no complex bfloat16.
    """
    weights = {"z"}
    while isinstance(rule, Wrapper):
        weights |= set(rule.state_names)
        rule = rule.rule
    if param.ndim == 0 or param.is_complex():
        return state
    return {
        name: value.to(dtype) if value.shape == param.shape and name not in weights else value
        for name, value in state.items()
    }
