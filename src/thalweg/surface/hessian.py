r"""The gradient and the Hessian of the loss over the data, the Hessian as a product with vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..data import Split
from .evaluate import blocks
from .landscape import Landscape
from .untouched import untouched
from .weights import Weights, flat, unflat

__all__ = ["Hessian", "gradient"]

_ROWS = 4096
#: Bytes of graphs that are kept between products; beyond that they are built anew for each.
_KEPT = 1 << 29


class Hessian:
    r"""The Hessian of :math:`E` at a point, for the parameters that training moves.

    .. math:: H v = \nabla_\theta \bigl( \nabla_\theta E(\theta)^\top v \bigr)

    over all rows, the penalty included, in evaluation mode. The graph of the gradient is built once and kept while it
    fits into memory, so that a product costs one pass through it. Use it as a context.

    Args:
        land: model, loss and data.
        center: the point.
        buffers: its buffers.

    Source: Pearlmutter, *Fast exact multiplication by the Hessian*, Neural Computation 6, 1994.
    """

    def __init__(self, land: Landscape, center: Weights, buffers: Weights) -> None:
        self.land, self.center, self.buffers = land, center, buffers
        self.names = [name for name in center if land.trains[name]]
        self.params = {name: center[name].detach().clone().requires_grad_() for name in self.names}
        self.fixed = {name: tensor for name, tensor in center.items() if name not in self.params}
        self.size = sum(tensor.numel() for tensor in self.params.values())
        self.products = 0
        self._stack = ExitStack()
        self._graphs: list[tuple[Tensor, ...]] | None = None
        self._weight = 0.0
        self._gradient: Tensor | None = None

    def __enter__(self) -> Hessian:
        self._stack.enter_context(untouched(self.land.module))
        # Fused attention has no second derivative.
        self._stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._graphs = None
        self._stack.close()

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""
        return self.land.device

    def gradient(self) -> Tensor:
        """Return the gradient, **(n,)** float64 (float32 where the device has no float64)."""
        if self._gradient is None:
            self._prepare()
        assert self._gradient is not None
        return self._gradient

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return H times each row of *vectors*, **(k, n)**, in the same shape and dtype."""
        if self._gradient is None:
            self._prepare()
        return torch.stack([self._product(vector) for vector in vectors])

    def _product(self, vector: Tensor) -> Tensor:
        self.products += 1
        pieces = tuple(unflat("Hessian", "vector", vector, self.params).values())
        total = torch.zeros(self.size, dtype=vector.dtype, device=vector.device)
        with torch.enable_grad():
            for grads in self._graphs if self._graphs is not None else self._gradients():
                total += self._through(grads, pieces, kept=self._graphs is not None).to(total.dtype)
            total /= self._weight
            if self.land.objective.penalty_term is not None:
                grads = self._penalty_gradient()
                total += self._through(grads, pieces, kept=False).to(total.dtype)
        return total

    def _through(self, grads: tuple[Tensor, ...], pieces: tuple[Tensor, ...], *, kept: bool) -> Tensor:
        pairs = [(g, v) for g, v in zip(grads, pieces, strict=True) if g.requires_grad]
        if not pairs:
            return torch.zeros(self.size, dtype=pieces[0].dtype, device=pieces[0].device)
        found = torch.autograd.grad(
            [g for g, _ in pairs],
            list(self.params.values()),
            [v for _, v in pairs],
            retain_graph=kept,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([tensor.reshape(-1) for tensor in found])

    def _prepare(self) -> None:
        """Compute the gradient; keep its graph where all of it fits."""
        kept: list[tuple[Tensor, ...]] | None = []
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        total = torch.zeros(self.size, dtype=wide, device=self.device)
        weight, stored = 0.0, 0
        for grads, amount, size in self._with_weights():
            total += flat(dict(enumerate(g.detach() for g in grads))).to(wide)  # type: ignore[arg-type]
            weight += amount
            stored += size
            if kept is not None and stored <= _KEPT:
                kept.append(grads)
            else:
                kept = None
        if not weight:
            raise ValueError("surface: the rows weigh nothing (every target is ignored), so there is no curvature.")
        total /= weight
        if self.land.objective.penalty_term is not None:
            with torch.enable_grad():
                total += torch.cat([g.detach().reshape(-1) for g in self._penalty_gradient()]).to(wide)
        self._graphs, self._weight, self._gradient = kept, weight, total

    def _gradients(self) -> Iterator[tuple[Tensor, ...]]:
        for grads, _, _ in self._with_weights():
            yield grads

    def _with_weights(self) -> Iterator[tuple[tuple[Tensor, ...], float, int]]:
        """Yield (gradient of the sum with its graph, weight, bytes the graph holds) for blocks of rows."""
        for _, parts in blocks(self.land, _ROWS, None):
            saved: list[int] = []
            with torch.enable_grad(), _counting(saved):
                total, weight = self._sum(parts)
                grads = torch.autograd.grad(
                    total, list(self.params.values()), create_graph=True, allow_unused=True, materialize_grads=True
                )
            yield grads, float(weight), sum(saved)

    def _sum(self, parts: Split) -> tuple[Tensor, Tensor | int]:
        with self.land.precision.context():
            total, weight, _ = self.land.objective({**self.fixed, **self.params}, self.buffers, parts)
        return total, weight

    def _penalty_gradient(self) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.autograd.grad(
            self.land.objective.penalty({**self.fixed, **self.params}),
            list(self.params.values()),
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return found

    def named(self, vector: Tensor) -> Weights:
        """Return a vector **(n,)** as tensors by name, zero for parameters that do not train."""
        found = unflat("Hessian", "vector", vector, self.params)
        return {name: found.get(name, torch.zeros_like(tensor)) for name, tensor in self.center.items()}


def _counting(sizes: list[int]) -> torch.autograd.graph.saved_tensors_hooks:
    """Return hooks under which every tensor that a graph keeps adds its bytes to *sizes*."""

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)


def gradient(land: Landscape, center: Weights, buffers: Weights) -> Weights:
    """Return the gradient of the loss over all rows at *center*, zero for parameters that do not train."""
    with Hessian(land, center, buffers) as hessian:
        return hessian.named(hessian.gradient())


def batch_gradients(land: Landscape, center: Weights, buffers: Weights, count: int) -> Iterator[tuple[Tensor, float]]:
    """Yield (gradient of the mean loss, weight) of the first *count* batches of the source, the penalty left out."""
    with Hessian(land, center, buffers) as hessian:
        for place, batch in enumerate(land.source.batches(0)):
            if place == count:
                return
            with torch.enable_grad():
                total, weight = hessian._sum(land.parts(batch))
                found = torch.autograd.grad(
                    total, list(hessian.params.values()), allow_unused=True, materialize_grads=True
                )
            yield torch.cat([g.reshape(-1) for g in found]).double() / float(weight), float(weight)
