"""Dropout whose masks are a function of seed, step and layer, so that a stacked member drops what it drops alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["CounterDropout", "dropout_keys", "keep_mask"]

_WORD = 0xFFFFFFFF
_FIRST, _SECOND = 0x7FEB352D, 0x21F0AAAD  # below 2**31: a product with 32 bits stays within int64
_GOLDEN = 0x1E3779B1

# Dropout functions, and how many leading dimensions of their input have a mask of their own (None: all).
_DROPOUTS: dict[Any, int | None] = {F.dropout: None, F.dropout1d: 2, F.dropout2d: 2, F.dropout3d: 2}


def _mixed(word: Any) -> Any:
    """Return a mixed 32-bit word, for integers, arrays (uint64) and int64 tensors alike."""
    word = (word ^ (word >> 16)) * _FIRST & _WORD
    word = (word ^ (word >> 15)) * _SECOND & _WORD
    return word ^ (word >> 15)


def dropout_keys(seeds: Sequence[int], steps: npt.NDArray[np.int64], layers: int) -> npt.NDArray[np.int64]:
    """Return the keys of the masks, shape **(S, K, L)**, 32 bits each.

    Args:
        seeds: one per member, any integers; their low 64 bits count.
        steps: update numbers from 0, shape **(S,)**.
        layers: dropouts in a forward pass, in the order in which they are met.

    >>> keys = dropout_keys([0, 1], np.arange(3), layers=2)
    >>> keys.shape, len(set(keys.reshape(-1).tolist()))
    ((3, 2, 2), 12)
    """
    low = np.array([seed & _WORD for seed in seeds], dtype=np.uint64)
    high = np.array([seed >> 32 & _WORD for seed in seeds], dtype=np.uint64)
    member = _mixed(_mixed(high ^ np.uint64(_GOLDEN)) ^ low)
    moment = _mixed(steps.astype(np.uint64) + np.uint64(1))
    layer = _mixed(np.arange(1, layers + 1, dtype=np.uint64) << np.uint64(16))
    key = _mixed(_mixed(member[None, :] ^ moment[:, None])[:, :, None] ^ layer)
    return np.asarray(key, dtype=np.int64)


def keep_mask(key: Tensor, index: Tensor, p: float) -> Tensor:
    r"""Return which elements stay, each with probability :math:`1 - p`.

    Element *i* stays where :math:`h(i \oplus \text{key}) \ge p \, 2^{32}` with a 32-bit mixing function *h*; nothing is
    drawn from a generator, so that any device, any number of members and any order of evaluation give the same mask.

    Args:
        key: int64, any shape that broadcasts with *index*.
        index: numbers of the elements, int64.
        p: share that is dropped, 0 to 1.

    >>> mask = keep_mask(torch.tensor(7), torch.arange(100_000), 0.25)
    >>> round(float(mask.float().mean()), 2)
    0.75
    """
    word = (index * _GOLDEN & _WORD) ^ key
    kept: Tensor = _mixed(word) >= round(p * 2**32)
    return kept


class CounterDropout(TorchFunctionMode):
    """While it is entered, ``F.dropout`` and its kin take their masks from :attr:`keys` instead of a generator.

    Args:
        remember: keep the numbers of the elements between passes; not while a graph is traced, whose tensors are none.

    Attributes:
        keys: int64, **(L,)**: one per dropout of a forward pass; None counts dropouts and drops nothing.
        calls: dropouts met since :meth:`begin`.
    """

    def __init__(self, remember: bool = True) -> None:
        super().__init__()
        self.remember = remember
        self.keys: Tensor | None = None
        self.calls = 0
        self._index: dict[tuple[int, torch.device], Tensor] = {}

    def begin(self, keys: Tensor | None) -> None:
        """Start a forward pass with these keys."""
        self.keys, self.calls = keys, 0

    def index(self, count: int, device: torch.device) -> Tensor:
        """Return 0 … count−1, kept between calls."""
        if not self.remember:
            return torch.arange(count, device=device)
        key = (count, device)
        if key not in self._index:
            self._index[key] = torch.arange(count, device=device)
        return self._index[key]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _DROPOUTS:
            return func(*args, **kwargs)
        return self._dropped(func, *args, **kwargs)

    def _dropped(
        self,
        func: Callable[..., Any],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        if not training or p == 0:
            return input
        place = self.calls
        self.calls += 1
        if self.keys is None:
            return input
        leading = _DROPOUTS[func]
        shape = input.shape if leading is None else (*input.shape[:leading], *(1,) * (input.dim() - leading))
        count = math.prod(shape)
        kept = keep_mask(self.keys[place], self.index(count, input.device), p).reshape(shape)
        return torch.where(kept, input * (1 / (1 - p)) if p < 1 else input, 0)
