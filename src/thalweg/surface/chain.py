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
        self._products: list[Tensor] = []
        self._base: tuple[float, Tensor] | None = None
        self._host: list[list[float]] = []
        self._factors = torch.empty(0)
        self._params: Weights = {}
        names = [name for step in self.steps[1:] for name in _names(step.path)]
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
        weight, bias = _names(after.path)
        shift = self._params.pop(_names(before.path)[1], None)
        if shift is not None:
            self._params[f"{before.path} floor"] = -shift
            moved = torch.bmm(self._params[weight], shift)
            self._params[bias] = moved + self._params[bias] if bias in self._params else moved

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
        weight, bias = _names(step.path)
        out = self._take((last - first, step.width, h.shape[2]), h, turn)
        if bias in self._params:
            return torch.baddbmm(self._params[bias][first:last], self._params[weight][first:last], h, out=out)
        return torch.bmm(self._params[weight][first:last], h, out=out)

    def _norm(self, step: Step, first: int, last: int, h: Tensor) -> Tensor:
        weight, bias = _names(step.path)
        prefix = f"{step.path}." if step.path else ""
        mean, var = self.cut.buffers[f"{prefix}running_mean"], self.cut.buffers[f"{prefix}running_var"]
        scale = torch.rsqrt(var + step.eps)[:, None]
        if weight in self._params:
            scale = scale * self._params[weight][first:last]
        shift = -mean[:, None] * scale
        if bias in self._params:
            shift = shift + self._params[bias][first:last]
        return h.mul_(scale).add_(shift)

    def _take(self, shape: tuple[int, ...], like: Tensor, turn: dict[tuple[int, ...], int]) -> Tensor:
        """Return memory that is kept between calls; fresh pages would cost as much as the work on them."""
        key = shape[1:]
        kept = self._kept.setdefault(key, [])
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
