"""A seeded problem whose gradient depends on the weights, so that an error in one step shows in all that follow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHAPES = ((4, 3), (5,), (), (2, 3, 2))


def start(dtype: torch.dtype = torch.float64, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Tensor]:
    """Return seeded parameters; the scalar and the vector test what is not a matrix."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def noise(steps: int, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[list[npt.NDArray[np.float64]]]:
    """Return seeded noise: steps × parameters."""
    rng = np.random.default_rng(3)
    return [[rng.standard_normal(shape) for shape in shapes] for _ in range(steps)]


def gradient(w: npt.NDArray[np.float64], kick: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the gradient of a bowl, of steepness 1, bent by a sine, plus noise."""
    return w + 0.3 * np.sin(2 * w) + 0.5 * kick


def set_gradients(params: list[Tensor], kicks: list[npt.NDArray[np.float64]]) -> None:
    """Put the gradients at *params* into ``.grad``."""
    for param, kick in zip(params, kicks, strict=True):
        value = gradient(param.detach().double().numpy(), kick)
        param.grad = torch.as_tensor(value).to(param.dtype).reshape(param.shape)
