r"""A keyed bijection on 0 … n−1 that is computed, not stored: a Feistel network with cycle walking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..permutation import epoch_key, mix32

__all__ = ["KeyedPermutation"]

Rows = NDArray[np.int64]
Half = NDArray[np.uint64]

_ROUNDS = 8
_AT_ONCE = 1 << 15  # numbers mixed at a time: the arrays of a round then stay in a core's cache


@dataclass(frozen=True)
class KeyedPermutation:
    r"""The order of n rows as a function of (seed, epoch), evaluated at any position without the others.

    A position is written as (L, R) with L < a, R < b, a = ⌈√n⌉, b = ⌈n / a⌉. Eight rounds alternate

    .. math:: L ← (L + F_k(R)) \bmod a, \qquad R ← (R + F_k(L)) \bmod b

    with keyed hash functions F; every round can be undone, so that the whole is a bijection on 0 … ab−1 whatever F is.
    A result ≥ n is sent through again until it is < n ("cycle walking"), which keeps it a bijection on 0 … n−1. Since
    ab < n + √n + 1, that is rare. Memory and state are O(1).

    Args:
        n: rows, 1 … 2⁶².
        seed: any integer; its low 64 bits count.
        epoch: from 0.

    Raises:
        ValueError: *n* is out of range.

    Source: Black and Rogaway, *Ciphers with Arbitrary Finite Domains*, CT-RSA 2002, sections 3 and 4; the hash is
    MurmurHash3's finalizer (Appleby 2011).

    >>> order = KeyedPermutation(n=7, seed=0, epoch=0)
    >>> sorted(order(np.arange(7)).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    >>> rows = np.array([0, 5, 999_999_999_999])
    >>> large = KeyedPermutation(n=10**12, seed=3, epoch=1)
    >>> large.inverse(large(rows)).tolist() == rows.tolist()
    True
    """

    n: int
    seed: int
    epoch: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or not 1 <= self.n <= 1 << 62:
            raise ValueError(f"KeyedPermutation: n={self.n!r} must be an integer in 1 … 2**62; give the rows to order.")

    @cached_property
    def _sides(self) -> tuple[int, int]:
        a = math.isqrt(self.n - 1) + 1
        return a, -(-self.n // a)

    @cached_property
    def _keys(self) -> list[int]:
        key = epoch_key(self.seed, self.epoch)
        # A second word that differs from the first, so that the rounds hang on 64 bits of (seed, epoch).
        other = epoch_key(~self.seed, self.epoch)
        keys = []
        for index in range(_ROUNDS):
            key, other = mix32((key + 0x9E3779B9 + index) ^ other), mix32(other ^ key)
            keys.append(key)
        return keys

    def __call__(self, positions: Rows) -> Rows:
        """Return the rows at *positions*, shape **(m,)** → **(m,)**, int64."""
        return self._walk(positions, self._forward)

    def inverse(self, rows: Rows) -> Rows:
        """Return the positions of *rows*, shape **(m,)** → **(m,)**, int64."""
        return self._walk(rows, self._backward)

    def _walk(self, values: Rows, step: Any) -> Rows:
        given = np.ascontiguousarray(values, dtype=np.int64)
        assert not given.size or (given.min() >= 0 and given.max() < self.n), "positions are 0 … n−1"
        out = np.empty(given.shape, dtype=np.int64)
        for start in range(0, len(given), _AT_ONCE):
            part = step(given[start : start + _AT_ONCE].astype(np.uint64))
            outside = np.flatnonzero(part >= self.n)
            while outside.size:
                part[outside] = step(part[outside])
                outside = outside[part[outside] >= self.n]
            out[start : start + _AT_ONCE] = part.view(np.int64)
        return out

    def _forward(self, value: Half) -> Half:
        a, b = self._sides
        right, left = np.divmod(value, np.uint64(a))
        for index, key in enumerate(self._keys):
            if index % 2 == 0:
                left += _hashed(right, key, a)
                left -= np.where(left >= a, np.uint64(a), np.uint64(0))
            else:
                right += _hashed(left, key, b)
                right -= np.where(right >= b, np.uint64(b), np.uint64(0))
        result: Half = right * np.uint64(a) + left
        return result

    def _backward(self, value: Half) -> Half:
        a, b = self._sides
        right, left = np.divmod(value, np.uint64(a))
        for index, key in reversed(list(enumerate(self._keys))):
            if index % 2 == 0:
                left += np.uint64(a) - _hashed(right, key, a)
                left -= np.where(left >= a, np.uint64(a), np.uint64(0))
            else:
                right += np.uint64(b) - _hashed(left, key, b)
                right -= np.where(right >= b, np.uint64(b), np.uint64(0))
        result: Half = right * np.uint64(a) + left
        return result


def _hashed(half: Half, key: int, size: int) -> Half:
    """Return a keyed hash of *half* (below 2³²) as numbers 0 … size−1: ⌊hash · size / 2³²⌋."""
    word = half.astype(np.uint32)
    word ^= np.uint32(key)
    word ^= word >> np.uint32(16)
    word *= np.uint32(0x85EBCA6B)
    word ^= word >> np.uint32(13)
    word *= np.uint32(0xC2B2AE35)
    word ^= word >> np.uint32(16)
    scaled = word.astype(np.uint64)
    scaled *= np.uint64(size)
    scaled >>= np.uint64(32)
    return scaled
