r"""A line or a plane through parameter space: a centre and the directions that lead away from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .weights import Weights

__all__ = ["Cut"]


@dataclass(frozen=True)
class Cut:
    r"""The points :math:`\theta = \theta_0 + \alpha d_1 + \beta d_2`, each computed from its own coordinates.

    Attributes:
        center: :math:`\theta_0` by name.
        directions: one (a line) or two (a plane).
        buffers: buffers at the centre.
        buffer_directions: how buffers change along each direction (batch statistics between two models); empty
            mappings where they do not.

    >>> cut = Cut({"w": torch.tensor([1.0, 2.0])}, ({"w": torch.tensor([1.0, 0.0])},))
    >>> cut.params(torch.tensor([[0.0], [0.5]]))
    {'w': tensor([[1.0000, 2.0000],
            [1.5000, 2.0000]])}
    """

    center: Weights
    directions: tuple[Weights, ...]
    buffers: Weights = field(default_factory=dict)
    buffer_directions: tuple[Weights, ...] = ()

    @property
    def moving_buffers(self) -> set[str]:
        """The buffers that differ from point to point."""
        return {name for direction in self.buffer_directions for name in direction}

    def params(self, coordinates: Tensor, names: Iterable[str] | None = None) -> Weights:
        """Return the parameters at K points.

        Args:
            coordinates: **(K, m)**, m the number of directions.
            names: which of them; None: all.

        Shapes:
            (K, …) each, or (…) where *coordinates* is **(m,)**: one point.
        """
        wanted = self.center if names is None else {name: self.center[name] for name in names}
        return {name: _at(c, [d[name] for d in self.directions], coordinates) for name, c in wanted.items()}

    def moved_buffers(self, coordinates: Tensor) -> Weights:
        """Return the buffers that differ from point to point, shapes as in :meth:`params`."""
        moved = {}
        for name in self.moving_buffers:
            center = self.buffers[name]
            parts = [d.get(name, torch.zeros_like(center)) for d in self.buffer_directions]
            moved[name] = _at(center, parts, coordinates)
        return moved


def _at(center: Tensor, directions: Sequence[Tensor], coordinates: Tensor) -> Tensor:
    coordinates = coordinates.to(center.dtype)
    value = center
    for place, direction in enumerate(directions):
        factor = coordinates[..., place]
        value = value + factor.reshape(*factor.shape, *(1,) * center.dim()) * direction
    return value
