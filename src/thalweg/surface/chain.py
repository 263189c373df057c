"""Models that are a chain of linear layers and elementwise functions, read from a trace of the model."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from .cut import Cut
from .first_layers import shared_parameters
from .weights import Weights

__all__ = ["Chain", "chain_of"]

_ELEMENTWISE = (
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.CELU, nn.SELU, nn.LeakyReLU, nn.Softplus, nn.Mish),
    *(nn.Hardtanh, nn.ReLU6, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink),
)
_NOTHING = (nn.Identity, nn.Dropout, nn.AlphaDropout)  # in evaluation mode
_FUNCTIONS: dict[Any, Callable[[Tensor], Tensor]] = {
    torch.relu: torch.relu_,
    F.relu: torch.relu_,
    torch.tanh: torch.tanh_,
    F.tanh: torch.tanh_,
    torch.sigmoid: torch.sigmoid_,
    F.sigmoid: torch.sigmoid_,
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
}
_IN_PLACE: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.Tanh: torch.tanh_,
    nn.Sigmoid: torch.sigmoid_,
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

    With :math:`H \in \mathbb{R}^{K \times c \times B}` a layer is one batched product
    :math:`W_k H_k`, whose inner loops run along the rows; the first one is affine in the coordinates, so its products
    with the data are computed once per direction.

    Attributes:
        steps: the links, a linear layer first.
        cut: the line or plane.
    """

    steps: list[Step]
    cut: Cut

    def __post_init__(self) -> None:
        self._buffers: dict[tuple[int, ...], list[Tensor]] = {}
        self._products: list[Tensor] = []
        self._base: tuple[float, Tensor] | None = None
        names = [f"{step.path}.{end}" if step.path else end for step in self.steps for end in ("weight", "bias")]
        own = {name for name in names[2:] if name in self.cut.center}
        self.later = sorted(own)

    @property
    def width(self) -> int:
        """The widest layer."""
        return max(step.width for step in self.steps)

    def begin(self, x: Tensor) -> None:
        """Take the rows, **(B, …)**, and compute what does not depend on the point."""
        first = self.steps[0]
        x = x.reshape(len(x), -1)
        weight, bias = _names(first.path)
        self._products = []
        for weights in (self.cut.center, *self.cut.directions):
            product = weights[weight] @ x.T
            self._products.append(product if bias not in weights else product + weights[bias][:, None])
        self._base = None

    def outputs(self, coordinates: Tensor, host: list[list[float]]) -> Tensor:
        """Return the outputs, **(K, C, B)**, overwritten by the next call.

        Args:
            coordinates: **(K, m)** on the device.
            host: the same numbers on the host.
        """
        turn: dict[tuple[int, ...], int] = {}
        h = self._first(coordinates, host, turn)
        params = self.cut.params(coordinates, self.later)
        for step in self.steps[1:]:
            if step.kind == "function":
                assert step.function is not None
                h = step.function(h)
            elif step.kind == "norm":
                h = self._norm(step, params, h)
            else:
                h = self._linear(step, params, h, turn)
        return h

    def _first(self, coordinates: Tensor, host: list[list[float]], turn: dict[tuple[int, ...], int]) -> Tensor:
        value, *products = self._products
        out = self._take((len(coordinates), *value.shape), value, turn)
        factors = coordinates.to(value.dtype).reshape(*coordinates.shape, 1, 1)
        if len(products) == 1:
            return torch.addcmul(value, products[0], factors[:, 0], out=out)
        alphas = {row[0] for row in host}
        if len(alphas) == 1:  # along β: the part in α is computed once
            alpha = alphas.pop()
            if self._base is None or self._base[0] != alpha:
                self._base = alpha, torch.addcmul(value, products[0], factors[0, 0])
            return torch.addcmul(self._base[1], products[1], factors[:, 1], out=out)
        torch.addcmul(value, products[0], factors[:, 0], out=out)
        return out.addcmul_(products[1], factors[:, 1])

    def _linear(self, step: Step, params: Weights, h: Tensor, turn: dict[tuple[int, ...], int]) -> Tensor:
        weight, bias = _names(step.path)
        out = self._take((len(h), step.width, h.shape[2]), h, turn)
        if bias in params:
            return torch.baddbmm(params[bias].unsqueeze(2), params[weight], h, out=out)
        return torch.bmm(params[weight], h, out=out)

    def _norm(self, step: Step, params: Weights, h: Tensor) -> Tensor:
        weight, bias = _names(step.path)
        prefix = f"{step.path}." if step.path else ""
        mean, var = self.cut.buffers[f"{prefix}running_mean"], self.cut.buffers[f"{prefix}running_var"]
        scale = torch.rsqrt(var + step.eps)
        if weight in params:
            scale = scale * params[weight]
        shift = -mean * scale + params[bias] if bias in params else -mean * scale
        return h.mul_(scale.unsqueeze(-1)).add_(shift.unsqueeze(-1))

    def _take(self, shape: tuple[int, ...], like: Tensor, turn: dict[tuple[int, ...], int]) -> Tensor:
        """Return memory that is kept between calls; fresh pages would cost as much as the work on them."""
        key = (*shape[1:],)
        kept = self._buffers.setdefault(key, [])
        place = turn.get(key, 0)
        turn[key] = place + 1
        if len(kept) == place:
            kept.append(like.new_empty(shape))
        if len(kept[place]) < shape[0]:
            kept[place] = like.new_empty(shape)
        return kept[place][: shape[0]]


def _names(path: str) -> tuple[str, str]:
    return (f"{path}.weight", f"{path}.bias") if path else ("weight", "bias")


def chain_of(module: nn.Module, cut: Cut) -> Chain | None:
    """Return *module* as a chain, or None where it is something else."""
    if cut.moving_buffers or shared_parameters(module):
        return None
    if any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in module.modules()):
        return None
    if isinstance(module, nn.Linear):
        steps: list[Step] | None = [Step("linear", "", width=module.out_features)]
    else:
        try:
            graph = fx.Tracer().trace(module)
        except Exception:  # whatever a user's forward raises on a symbolic input: it is no chain
            return None
        steps = _steps(module, graph)
    if not steps or steps[0].kind != "linear":
        return None
    used = {name for step in steps for name in _names(step.path) if step.path or step.kind == "linear"}
    if set(cut.center) - used or len({s.path for s in steps if s.path}) != sum(bool(s.path) for s in steps):
        return None
    dtypes = {tensor.dtype for tensor in cut.center.values()}
    return Chain(steps, cut) if len(dtypes) == 1 else None


def _steps(module: nn.Module, graph: fx.Graph) -> list[Step] | None:
    nodes = list(graph.nodes)
    if (
        [node.op for node in nodes].count("placeholder") != 1
        or nodes[0].op != "placeholder"
        or nodes[-1].op != "output"
    ):
        return None
    steps: list[Step] = []
    before = nodes[0]
    for node in nodes[1:-1]:
        if node.all_input_nodes != [before] or node.args[:1] != (before,):
            return None
        step = _step(module, node, first=not steps)
        if step is None:
            return None
        steps.extend(step)
        before = node
    return steps if nodes[-1].args == (before,) else None


def _step(module: nn.Module, node: fx.Node, *, first: bool) -> list[Step] | None:
    """Return what the node does: a list of one step, of none (it changes nothing), or None where it is not known."""
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        if len(node.args) != 1 or node.kwargs:
            return None
        if type(part) is nn.Linear:
            return [Step("linear", str(node.target), width=part.out_features)]
        if type(part) is nn.BatchNorm1d and part.track_running_stats and not first:
            return [Step("norm", str(node.target), eps=part.eps)]
        if type(part) in _ELEMENTWISE and not first:
            return [Step("function", function=_IN_PLACE.get(type(part), part))]
        flattens = type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1)
        return [] if type(part) in _NOTHING or flattens else None
    if node.op not in ("call_function", "call_method"):
        return None
    rest = (*node.args[1:], *(value for name, value in node.kwargs.items() if name != "inplace"))
    if node.target in (torch.flatten, "flatten"):
        return [] if rest in ((1,), (1, -1)) else None
    if node.target in _FUNCTIONS and not rest and not first and node.target is not operator.iadd:
        return [Step("function", function=_FUNCTIONS[node.target])]
    return None
