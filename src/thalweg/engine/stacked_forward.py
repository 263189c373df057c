"""The outputs of K members of one model, computed together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from thalweg.data import Split
from thalweg.objective import Inputs, logits_of

from .counter_dropout import CounterDropout, keep_mask
from .links import Link, links_of, parameter_names

__all__ = ["ChainForward", "StackedForward", "VmapForward", "stacked_forward"]

Tensors = Mapping[str, Tensor]


class StackedForward(ABC):
    """How the outputs of many members are computed.

    Attributes:
        classes_first: whether outputs are **(K, C, B)** rather than **(K, B, …)**.
        layers: dropouts in a forward pass in training mode.
    """

    name: ClassVar[str]
    classes_first: ClassVar[bool] = False
    layers: int = 0

    @abstractmethod
    def __call__(
        self, params: Tensors, buffers: Tensors, parts: Split, keys: Tensor | None, *, own: bool = False
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return (outputs, buffers afterwards); the given tensors are not changed.

        Args:
            params: by name, **(K, …)** each.
            buffers: likewise.
            parts: the batch; its rows are shared, or **(K, B, …)** with *own*.
            keys: of the dropouts, **(K, L)** int64, or None where nothing is dropped.
            own: each member has a batch of its own.
        """


class VmapForward(StackedForward):
    """``torch.func.vmap`` of the model's functional form."""

    name = "stacked (vmap)"

    def __init__(self, module: nn.Module, layers: int, remember: bool = True) -> None:
        self.module, self.layers = module, layers
        self.inputs = Inputs(module)
        self.mode = CounterDropout(remember) if layers else None

    def __call__(
        self, params: Tensors, buffers: Tensors, parts: Split, keys: Tensor | None, *, own: bool = False
    ) -> tuple[Any, dict[str, Tensor]]:
        args, kwargs = self.inputs(parts)
        rows = (args, dict(kwargs))

        def one(weights: dict[str, Tensor], kept: dict[str, Tensor], key: Any, given: Any) -> Any:
            mine = {name: tensor.clone() for name, tensor in kept.items()}
            if self.mode is not None:
                self.mode.begin(key)
            args, kwargs = given
            with self.mode if self.mode is not None and key is not None else nullcontext():
                output = torch.func.functional_call(self.module, (weights, mine), args, kwargs)
            return logits_of(output), mine

        dims = (0, 0 if buffers else None, None if keys is None else 0, _dims(rows) if own else None)
        output, after = torch.func.vmap(one, in_dims=dims, randomness="error")(dict(params), dict(buffers), keys, rows)
        return output, after


def _dims(rows: Any) -> Any:
    return tree_map(lambda value: 0 if isinstance(value, Tensor) else None, rows)


class ChainForward(StackedForward):
    r"""Batched products with the features before the rows, :math:`H \in \mathbb{R}^{K \times c \times B}`.

    A layer is :math:`H \leftarrow W_k H_k + b_k`, one batched product whose inner loops run along the rows. Where the
    members share their rows, the first layer is one product with the weights of all members below each other,
    **(K·c, p) × (p, B)**, in the backward pass too.
    """

    name = "stacked (batched products)"
    classes_first = True

    def __init__(self, module: nn.Module, links: list[Link], remember: bool = True) -> None:
        self.module, self.links = module, links
        self.layers = sum(link.kind == "dropout" for link in links if getattr(link.module, "p", 0) > 0)
        self.remember = remember
        self._index: dict[tuple[int, int, torch.device], Tensor] = {}

    def __call__(
        self, params: Tensors, buffers: Tensors, parts: Split, keys: Tensor | None, *, own: bool = False
    ) -> tuple[Any, dict[str, Tensor]]:
        after = {name: tensor.clone() for name, tensor in buffers.items()}
        x = parts.args[0]
        h = x.reshape(*x.shape[: 1 + own], -1).transpose(-1, -2)
        place = 0
        for link in self.links:
            if link.kind == "linear":
                h = _linear(link, params, h)
            elif link.kind == "norm":
                h = _norm(link, params, after, h)
            elif link.kind == "function":
                assert link.function is not None
                h = link.function(h)
            elif keys is not None and _drops(link):
                h = self._dropped(cast(nn.Dropout, link.module).p, keys[:, place], h)
                place += 1
        return h, after

    def _dropped(self, p: float, key: Tensor, h: Tensor) -> Tensor:
        """Drop with the element numbers of the usual order, rows before features."""
        width, rows = h.shape[-2:]
        index = self._numbers(width, rows, h.device)
        kept = keep_mask(key[:, None, None], index, p)
        return torch.where(kept, h * (1 / (1 - p)) if p < 1 else h, 0)

    def _numbers(self, width: int, rows: int, device: torch.device) -> Tensor:
        key = (width, rows, device)
        if key in self._index:
            return self._index[key]
        index = torch.arange(width * rows, device=device).view(rows, width).T.contiguous()
        if self.remember:
            self._index[key] = index
        return index


def _drops(link: Link) -> bool:
    assert link.module is not None
    return link.module.training and cast(nn.Dropout, link.module).p > 0


def _linear(link: Link, params: Tensors, h: Tensor) -> Tensor:
    weight, bias = (params.get(name) for name in parameter_names(link.path))
    assert weight is not None
    if h.dim() == 2 and not weight.is_contiguous():  # a part of larger tensors, which one product cannot read
        h = h.expand(len(weight), *h.shape)
    if h.dim() == 2:  # the rows that all share
        flat = weight.reshape(-1, weight.shape[2])
        out = flat @ h if bias is None else torch.addmm(bias.reshape(-1, 1), flat, h)
        return out.view(len(weight), weight.shape[1], -1)
    return torch.bmm(weight, h) if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, h)


def _norm(link: Link, params: Tensors, buffers: dict[str, Tensor], h: Tensor) -> Tensor:
    """Return the batch norm of each member's features; the running statistics in *buffers* are moved in place."""
    norm = cast(nn.BatchNorm1d, link.module)
    prefix = f"{link.path}." if link.path else ""
    weight, bias = (params.get(name) for name in parameter_names(link.path))
    momentum = norm.momentum
    if norm.training:
        buffers[f"{prefix}num_batches_tracked"].add_(1)
    members, width, rows = h.shape
    out = F.batch_norm(
        h.reshape(1, members * width, rows),  # a feature of a member is a channel
        buffers[f"{prefix}running_mean"].view(-1),
        buffers[f"{prefix}running_var"].view(-1),
        None if weight is None else weight.reshape(-1),
        None if bias is None else bias.reshape(-1),
        norm.training,
        0.0 if momentum is None else momentum,
        norm.eps,
    )
    return out.view(members, width, rows)


def stacked_forward(module: nn.Module, parts: Split, layers: int, *, remember: bool = True) -> StackedForward:
    """Return the way for *module*: batched products where it is a chain of layers, else ``vmap``.

    Args:
        module: whose modes say what is computed.
        parts: an example batch.
        layers: dropouts met in a forward pass in training mode.
        remember: see :class:`CounterDropout`.
    """
    links = links_of(module) if len(parts.args) == 1 and not parts.kwargs else None
    if links is not None and _takes(links, parts.args[0]):
        return ChainForward(module, links, remember)
    return VmapForward(module, layers, remember)


def _takes(links: list[Link], x: Any) -> bool:
    """Whether the chain's first layer is linear and reads the batch's rows as vectors."""
    first = links[0]
    if first.kind != "linear" or not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2:
        return False
    plain = all(type(link.module) is nn.Dropout for link in links if link.kind == "dropout")
    cumulative = any(getattr(link.module, "momentum", 0.1) is None for link in links if link.kind == "norm")
    return plain and not cumulative and x[0].numel() == cast(nn.Linear, first.module).in_features
