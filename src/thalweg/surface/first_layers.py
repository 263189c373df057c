r"""The layers that read the data: on a line or a plane what they return is affine in the coordinates.

For a linear or convolution layer on inputs :math:`x` that do not depend on the parameters,

.. math:: W(\alpha, \beta) x + b(\alpha, \beta) = (W_0 x + b_0) + \alpha (D_1 x + e_1) + \beta (D_2 x + e_2)

so that its products with the data are computed once per direction instead of once per point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Split
from .cut import Cut

__all__ = ["FirstLayer", "first_layers", "shared_parameters"]

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class FirstLayer:
    """One layer that reads the data, with its products kept for the rows at hand.

    Attributes:
        names: its parameters' names in the model, which need not be computed for each point.
        coordinates: of the point that is being evaluated; a 1-dim tensor **(m,)**, batched under ``vmap``.
        numbers: the same as numbers, where one point is evaluated at a time; None under ``vmap``.
        channels_last: whether images are answered with their channels innermost, which a CPU pools several times
            faster; values are the same.
    """

    def __init__(self, module: nn.Module, path: str, cut: Cut) -> None:
        self.module = module
        prefix = f"{path}." if path else ""
        self.names = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
        self.cut = cut
        self.coordinates: Tensor | None = None
        self.numbers: list[float] | None = None
        self.channels_last = False
        self._weight = f"{prefix}weight"
        self._bias = f"{prefix}bias" if module.bias is not None else None
        self._products: list[Tensor] | None = None
        self._base: tuple[float, Tensor] | None = None

    def forget(self) -> None:
        """Begin with other rows."""
        self._products = self._base = None

    def _of(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        bias = None if self._bias is None else weights[self._bias]
        layer: Any = self.module
        if isinstance(layer, nn.Linear):
            return F.linear(x, weights[self._weight], bias)
        out: Tensor = layer._conv_forward(x, weights[self._weight], bias)
        return out

    def __call__(self, x: Tensor) -> Tensor:
        if self._products is None:
            self._products = [self._laid(self._of(x, weights)) for weights in (self.cut.center, *self.cut.directions)]
        if self.numbers is not None:
            return self._at(self.numbers)
        assert self.coordinates is not None
        value, *products = self._products
        for place, product in enumerate(products):
            value = value + self.coordinates[place].to(value.dtype) * product
        return value

    def _laid(self, product: Tensor) -> Tensor:
        if self.channels_last and product.dim() == 4:
            return product.contiguous(memory_format=torch.channels_last)
        return product

    def _at(self, numbers: list[float]) -> Tensor:
        """Return the answer at one point; along β the part in α is computed once."""
        assert self._products is not None
        value, *products = self._products
        if len(products) == 1:
            return torch.add(value, products[0], alpha=numbers[0])
        if self._base is None or self._base[0] != numbers[0]:
            self._base = numbers[0], torch.add(value, products[0], alpha=numbers[0])
        return torch.add(self._base[1], products[1], alpha=numbers[1])

    @contextmanager
    def inserted(self) -> Iterator[None]:
        """Let the module answer with what is kept."""
        had, before = "forward" in vars(self.module), vars(self.module).get("forward")
        vars(self.module)["forward"] = self
        try:
            yield
        finally:
            if had:
                vars(self.module)["forward"] = before
            else:
                del vars(self.module)["forward"]
            self.forget()


def shared_parameters(module: nn.Module) -> set[str]:
    """Return the names of parameters that two modules share (tied weights), under each of their names."""
    names: dict[int, list[str]] = {}
    for name, param in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(param), []).append(name)
    return {name for tied in names.values() if len(tied) > 1 for name in tied}


def first_layers(
    module: nn.Module, cut: Cut, parts: Split, run: Callable[[dict[str, Tensor]], Any]
) -> list[FirstLayer]:
    """Return the layers that read only the data, found by one run of the model with gradients.

    Args:
        module: the model, in evaluation mode.
        cut: the line or plane.
        parts: a few rows.
        run: runs the model on them at the parameters it is given.
    """
    tied = shared_parameters(module)
    if cut.moving_buffers:
        return []
    seen: dict[str, list[bool]] = {}
    paths = {path: part for path, part in module.named_modules() if type(part) in _KINDS}
    handles = [part.register_forward_pre_hook(_watch(path, seen), with_kwargs=True) for path, part in paths.items()]
    try:
        with torch.enable_grad():
            run({name: tensor.detach().clone().requires_grad_() for name, tensor in cut.center.items()})
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for path, independent in seen.items():
        layer = FirstLayer(paths[path], path, cut)
        if independent == [True] and not tied & set(layer.names):
            found.append(layer)
    return found


def _watch(path: str, seen: dict[str, list[bool]]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        plain = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        seen.setdefault(path, []).append(plain and args[0].is_floating_point() and not args[0].requires_grad)

    return hook
