"""The order of the rows in an epoch, as a function of the seed and the epoch alone."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["epoch_key", "mix32", "permutation"]

_WORD = 0xFFFFFFFF


def mix32(word: int) -> int:
    """Return MurmurHash3's 32-bit finalizer of *word* (Appleby 2011), a bijection on 32 bits."""
    word ^= word >> 16
    word = word * 0x85EBCA6B & _WORD
    word ^= word >> 13
    word = word * 0xC2B2AE35 & _WORD
    return word ^ word >> 16


def epoch_key(seed: int, epoch: int) -> int:
    """Return the 32-bit key of an epoch's generator: ``mix(mix(epoch) ⊕ mix(mix(high ⊕ c) ⊕ low))``.

    *high* and *low* are the words of the seed, c = ⌊2³² / golden ratio⌋ keeps seed 0 off the finalizer's fixed point 0.

    torch's CPU generator (MT19937) takes 32 bits of a seed. Every step is a bijection in the epoch, so that no two
    epochs of a run (below 2³²) share a key; consecutive seeds give unrelated keys.

    >>> len({epoch_key(0, epoch) for epoch in range(10_000)})
    10000
    """
    high, low = seed >> 32 & _WORD, seed & _WORD
    return mix32(mix32(epoch & _WORD) ^ mix32(mix32(high ^ 0x9E3779B9) ^ low))


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the rows 0 … n−1 in *epoch*, shape **(n,)**, int64, on the CPU.

    The order is drawn on the CPU whatever the device of the data, so that every device sees the same batches. No
    global generator is read or moved.

    Args:
        n: rows.
        seed: any integer; its low 64 bits count.
        epoch: from 0.

    >>> permutation(5, seed=0, epoch=0).tolist() == permutation(5, seed=0, epoch=0).tolist()
    True
    >>> sorted(permutation(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    generator = torch.Generator()
    generator.manual_seed(epoch_key(seed, epoch))
    return torch.randperm(n, generator=generator)
