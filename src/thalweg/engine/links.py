"""A model read as a chain: linear layers, batch norms, dropouts and elementwise functions, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

__all__ = ["Link", "links_of", "parameter_names"]

_ELEMENTWISE = (
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.CELU, nn.SELU, nn.LeakyReLU, nn.Softplus, nn.Mish),
    *(nn.Hardtanh, nn.ReLU6, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink),
)
_DROPOUTS = (nn.Dropout, nn.AlphaDropout)
_FUNCTIONS: dict[Any, Callable[[Tensor], Tensor]] = {
    torch.relu: torch.relu,
    F.relu: torch.relu,
    torch.tanh: torch.tanh,
    F.tanh: torch.tanh,
    torch.sigmoid: torch.sigmoid,
    F.sigmoid: torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
_SAME: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu,
    nn.Tanh: torch.tanh,
    nn.Sigmoid: torch.sigmoid,
}


@dataclass(frozen=True)
class Link:
    """One link of a chain.

    Attributes:
        kind: ``"linear"``, ``"norm"`` (BatchNorm1d), ``"function"`` (elementwise) or ``"dropout"``.
        path: of the module, where it has parameters.
        module: itself, where the link is one.
        function: what a function link computes, out of place.
        width: features that leave a linear layer.
    """

    kind: Literal["linear", "norm", "function", "dropout"]
    path: str = ""
    module: nn.Module | None = None
    function: Callable[[Tensor], Tensor] | None = None
    width: int = 0


def parameter_names(path: str) -> tuple[str, str]:
    """Return the names of weight and bias of the module at *path*.

    >>> parameter_names("0"), parameter_names("")
    (('0.weight', '0.bias'), ('weight', 'bias'))
    """
    return (f"{path}.weight", f"{path}.bias") if path else ("weight", "bias")


def links_of(module: nn.Module) -> list[Link] | None:
    """Return the links of *module*, the first one linear (dropouts aside); None where it is no chain.

    The model is traced with a symbolic input; hooks, replaced ``forward`` methods, a module used twice and shared
    parameters make it no chain.

    >>> [link.kind for link in links_of(nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['linear', 'function', 'linear']
    """
    if any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in module.modules()):
        return None
    named = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    if len(named) != len(list(module.parameters())):
        return None
    if type(module) is nn.Linear:
        return [Link("linear", "", module, width=module.out_features)]
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # whatever a user's forward raises on a symbolic input: it is no chain
        return None
    links = _links(module, graph)
    if not links or next((link.kind for link in links if link.kind != "dropout"), "") != "linear":
        return None
    paths = [link.path for link in links if link.kind in ("linear", "norm")]
    used = {name for path in paths for name in parameter_names(path)}
    return links if len(set(paths)) == len(paths) and set(named) <= used else None


def _links(module: nn.Module, graph: fx.Graph) -> list[Link] | None:
    nodes = list(graph.nodes)
    inputs = [node.op for node in nodes].count("placeholder")
    if inputs != 1 or nodes[0].op != "placeholder" or nodes[-1].op != "output":
        return None
    links: list[Link] = []
    before = nodes[0]
    for node in nodes[1:-1]:
        if node.all_input_nodes != [before] or node.args[:1] != (before,):
            return None
        found = _link(module, node, first=not any(link.kind == "linear" for link in links))
        if found is None:
            return None
        links.extend(found)
        before = node
    return links if nodes[-1].args == (before,) else None


def _link(module: nn.Module, node: fx.Node, *, first: bool) -> list[Link] | None:
    """Return what the node does: a list of one link, of none (it changes nothing), or None where it is not known."""
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        if len(node.args) != 1 or node.kwargs:
            return None
        return _module_link(str(node.target), part, first=first)
    if node.op not in ("call_function", "call_method"):
        return None
    rest = (*node.args[1:], *(value for name, value in node.kwargs.items() if name != "inplace"))
    if node.target in (torch.flatten, "flatten"):
        return [] if rest in ((1,), (1, -1)) else None
    if node.target in _FUNCTIONS and not rest and not first:
        return [Link("function", function=_FUNCTIONS[node.target])]
    return None


def _module_link(path: str, part: nn.Module, *, first: bool) -> list[Link] | None:
    if type(part) is nn.Linear:
        return [Link("linear", path, part, width=part.out_features)]
    if type(part) is nn.BatchNorm1d and part.track_running_stats and not first:
        return [Link("norm", path, part)]
    if type(part) in _ELEMENTWISE and not first:
        return [Link("function", function=_SAME.get(type(part), part), module=part)]
    if type(part) in _DROPOUTS:
        return [Link("dropout", module=part)]
    if type(part) is nn.Flatten:
        return [] if (part.start_dim, part.end_dim) == (1, -1) else None
    return [] if type(part) is nn.Identity else None
