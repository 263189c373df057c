"""Models that are a chain of linear layers and elementwise functions, read from a trace of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.links import Link, links_of, parameter_names
from .cut import Cut
from .weights import Weights

__all__ = ["Chain", "chain_of"]

_IN_PLACE: dict[Any, Callable[[Tensor], Tensor]] = {
    torch.relu: torch.relu_,
    torch.tanh: torch.tanh_,
    torch.sigmoid: torch.sigmoid_,
}


@dataclass(frozen=True)
class Step:
    """One link: a linear layer, a batch norm (both by their path), or an elementwise function."""

    kind: str
    path: str = ""
    function: Callable[[Tensor], Tensor] | None = None
    width: int = 0
    eps: float = 0.0


@dataclass
class Chain:
    r"""Linear layers and elementwise functions, computed for K points at once with the features before the rows.

    With :math:`H \in \mathbb{R}^{K \times c \times B}` a layer is one batched product :math:`W_k H_k`, whose inner
    loops run along the rows. The first one is affine in the coordinates, so its products with the data are computed
    once per direction. A rectified layer between two others needs one pass instead of two:

    .. math:: W_2 \max(W_1 h + b_1, 0) + b_2 = W_2 \max(W_1 h, -b_1) + (W_2 b_1 + b_2)

    Attributes:
        steps: the links, a linear layer first.
        cut: the line or plane.
    """

    steps: list[Step]
    cut: Cut

    def __post_init__(self) -> None:
        self._kept: dict[tuple[int, ...], list[Tensor]] = {}
        self._kept_products: dict[tuple[int, ...], list[Tensor]] = {}
        self._products: list[Tensor] = []
        self._base: tuple[float, Tensor] | None = None
        self._host: list[list[float]] = []
        self._factors = torch.empty(0)
        self._params: Weights = {}
        names = [name for step in self.steps[1:] for name in parameter_names(step.path)]
        self.later = [name for name in names if name in self.cut.center]

    @property
    def width(self) -> int:
        """The widest layer."""
        return max(step.width for step in self.steps)

    def place(self, coordinates: Tensor) -> None:
        """Take the points, **(P, m)**, and compute their parameters, those of the first layer excepted."""
        center = next(iter(self.cut.center.values()))
        self._host = coordinates.tolist()
        self._factors = coordinates.to(device=center.device, dtype=center.dtype)[:, :, None, None]
        self._params = self.cut.params(coordinates.to(center.device), self.later)
        for name in self._params:
            if self._params[name].dim() == 2:  # a bias: one number per feature, for all rows
                self._params[name] = self._params[name].unsqueeze(2)
        for before, step, after in zip(self.steps[1:], self.steps[2:], self.steps[3:], strict=False):
            if before.kind == after.kind == "linear" and step.function is torch.relu_:
                self._fold(before, after)

    def _fold(self, before: Step, after: Step) -> None:
        weight, bias = parameter_names(after.path)
        shift = self._params.pop(parameter_names(before.path)[1], None)
        if shift is not None:
            self._params[f"{before.path} floor"] = -shift
            moved = torch.bmm(self._params[weight], shift)
            self._params[bias] = moved + self._params[bias] if bias in self._params else moved

    def begin(self, x: Tensor) -> None:
        """Take the rows, **(B, …)**, and compute what does not depend on the point."""
        first = self.steps[0]
        x = x.reshape(len(x), -1)
        weight, bias = parameter_names(first.path)
        self._products = []
        turn: dict[tuple[int, ...], int] = {}
        for weights in (self.cut.center, *self.cut.directions):
            out = self._take((first.width, len(x)), x, turn, held=self._kept_products)
            if bias in weights:
                self._products.append(torch.addmm(weights[bias][:, None], weights[weight], x.T, out=out))
            else:
                self._products.append(torch.mm(weights[weight], x.T, out=out))
        self._base = None

    def outputs(self, first: int, last: int) -> Tensor:
        """Return the outputs at the points *first* to *last*, **(K, C, B)**, overwritten by the next call."""
        turn: dict[tuple[int, ...], int] = {}
        h = self._first(first, last, turn)
        floor: Tensor | None = None
        for step in self.steps[1:]:
            if step.kind == "function":
                assert step.function is not None
                h = step.function(h) if floor is None else torch.maximum(h, floor, out=h)
                floor = None
            elif step.kind == "norm":
                h = self._norm(step, first, last, h)
            else:
                h = self._linear(step, first, last, h, turn)
                floor = self._params.get(f"{step.path} floor")
                floor = None if floor is None else floor[first:last]
        return h

    def _first(self, first: int, last: int, turn: dict[tuple[int, ...], int]) -> Tensor:
        value, *products = self._products
        factors = self._factors[first:last]
        out = self._take((last - first, *value.shape), value, turn)
        if len(products) == 1:
            return torch.addcmul(value, products[0], factors[:, 0], out=out)
        alpha = self._host[first][0]
        if alpha == self._host[last - 1][0] and all(row[0] == alpha for row in self._host[first:last]):
            # Along β: the part in α is computed once.
            if self._base is None or self._base[0] != alpha:
                self._base = alpha, torch.addcmul(value, products[0], factors[0, 0])
            return torch.addcmul(self._base[1], products[1], factors[:, 1], out=out)
        torch.addcmul(value, products[0], factors[:, 0], out=out)
        return out.addcmul_(products[1], factors[:, 1])

    def _linear(self, step: Step, first: int, last: int, h: Tensor, turn: dict[tuple[int, ...], int]) -> Tensor:
        weight, bias = parameter_names(step.path)
        out = self._take((last - first, step.width, h.shape[2]), h, turn)
        if bias in self._params:
            return torch.baddbmm(self._params[bias][first:last], self._params[weight][first:last], h, out=out)
        return torch.bmm(self._params[weight][first:last], h, out=out)

    def _norm(self, step: Step, first: int, last: int, h: Tensor) -> Tensor:
        weight, bias = parameter_names(step.path)
        prefix = f"{step.path}." if step.path else ""
        mean, var = self.cut.buffers[f"{prefix}running_mean"], self.cut.buffers[f"{prefix}running_var"]
        scale = torch.rsqrt(var + step.eps)[:, None]
        if weight in self._params:
            scale = scale * self._params[weight][first:last]
        shift = -mean[:, None] * scale
        if bias in self._params:
            shift = shift + self._params[bias][first:last]
        return h.mul_(scale).add_(shift)

    def _take(
        self,
        shape: tuple[int, ...],
        like: Tensor,
        turn: dict[tuple[int, ...], int],
        *,
        held: dict[tuple[int, ...], list[Tensor]] | None = None,
    ) -> Tensor:
        """Return memory that is kept between calls; fresh pages would cost as much as the work on them."""
        key = shape[1:]
        kept = (self._kept if held is None else held).setdefault(key, [])
        place = turn.get(key, 0)
        turn[key] = place + 1
        if len(kept) == place:
            kept.append(like.new_empty(shape))
        if len(kept[place]) < shape[0]:
            kept[place] = like.new_empty(shape)
        return kept[place][: shape[0]]


def chain_of(module: nn.Module, cut: Cut) -> Chain | None:
    """Return *module* as a chain, or None where it is something else."""
    links = None if cut.moving_buffers else links_of(module)
    if links is None:
        return None
    dtypes = {tensor.dtype for tensor in cut.center.values()}
    # In evaluation mode a dropout is nothing.
    return Chain([_step(link) for link in links if link.kind != "dropout"], cut) if len(dtypes) == 1 else None


def _step(link: Link) -> Step:
    function = None if link.function is None else _IN_PLACE.get(link.function, link.function)
    return Step(link.kind, link.path, function, link.width, getattr(link.module, "eps", 0.0))
