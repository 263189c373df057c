"""Stochastic rounding to bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Rounder", "round_stochastically"]


def round_stochastically(value: Tensor, noise: Tensor) -> Tensor:
    r"""Return float32 *value* rounded to one of its two bfloat16 neighbours, so that the mean over the noise is exact.

    bfloat16 is the upper half of float32: adding 16 uniform random bits to the lower half carries into the upper one
    with the probability of what is cut off.

    Args:
        value: float32, finite or not; infinities and NaN stay what they are.
        noise: int32 of the same shape, uniform in [0, 65536).

    Shapes:
        both any shape; the result has it too, in bfloat16.

    References:
        Gupta, Agrawal, Gopalakrishnan, Narayanan, *Deep Learning with Limited Numerical Precision*, ICML 2015,
        section 3.

    >>> value = torch.full((4,), 1.001)   # the neighbours are 1 and 1.0078125
    >>> noise = torch.tensor([0, 20_000, 60_000, 65_535], dtype=torch.int32)
    >>> round_stochastically(value, noise).tolist()
    [1.0, 1.0, 1.0078125, 1.0078125]
    """
    bits = (value.view(torch.int32) + noise) & -65536
    rounded = bits.view(torch.float32)
    # The carry would turn infinity into NaN and some NaN into infinity.
    return torch.where(value.isfinite(), rounded, value).to(torch.bfloat16)


class Rounder:
    """Draws the noise for :func:`round_stochastically`, one seeded generator per device, whose states can be saved."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._generators: dict[str, torch.Generator] = {}

    def _generator(self, device: torch.device) -> torch.Generator:
        name = str(device)
        if name not in self._generators:
            self._generators[name] = torch.Generator(device=device).manual_seed(self.seed)
        return self._generators[name]

    def copy_(self, target: Tensor, value: Tensor) -> None:
        """Write *value* into *target*, at random to either neighbour where *target* is bfloat16."""
        if target.dtype is not torch.bfloat16 or value.dtype is torch.bfloat16:
            target.copy_(value)
            return
        value = value.to(torch.float32)
        noise = torch.randint(
            0, 65536, value.shape, dtype=torch.int32, device=value.device, generator=self._generator(value.device)
        )
        target.copy_(round_stochastically(value, noise))

    def seed_of_step(self) -> int:
        """Return 32 random bits from the host's generator, from which a kernel makes the noise of one step."""
        drawn = torch.randint(0, 2**32, (1,), dtype=torch.int64, generator=self._generator(torch.device("cpu")))
        return int(drawn.numpy()[0])

    def state(self) -> dict[str, Tensor]:
        """Return the generators' states by device name."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on drawing from states that :meth:`state` returned."""
        for name, value in state.items():
            self._generator(torch.device(name)).set_state(value.cpu())
