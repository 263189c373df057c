"""A rule's update written down as a list of operations, from which kernels are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from thalweg.optim import Rule

__all__ = ["Kind", "Node", "Trace", "Untraceable", "is_moving", "moving_values", "trace"]

#: What a value has one of: the whole tensor's elements, its rows, its columns, its matrices, or itself.
Kind = Literal["element", "row", "column", "matrix", "tensor"]

# Sizes of the sample that a rule is traced on, different so that the number of elements tells the kind.
_MATRICES, _ROWS, _COLUMNS = 2, 3, 5
_SAME = ("detach", "alias", "clone", "unsqueeze", "squeeze", "view", "_unsafe_view", "lift_fresh")
_ALWAYS_MOVING = ("lr",)


class Untraceable(ValueError):
    """A rule's update does something that no kernel is made for; the message says what."""


@dataclass(eq=False)
class Node:
    """One value of an update.

    Attributes:
        op: the operation's name in torch, or ``"input"``.
        args: nodes and plain numbers; for an input its name.
        kind: what there is one of.
        dtype: what it is computed in.
        options: further arguments by name.
    """

    op: str
    args: tuple[Any, ...]
    kind: Kind
    dtype: torch.dtype
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """A rule's update: which inputs it reads, and what it writes.

    Attributes:
        inputs: ``"param"``, ``"grad"``, the states by name, and hyperparameters as ``"hyper/NAME"``.
        outputs: ``"param"`` and the states that change, by name.
        dims: 1 for vectors (and whatever has no rows), 2 for matrices, 3 for stacks of them.
    """

    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]
    dims: int


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation on the sample's tensors."""

    def __init__(self, dims: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dims = dims
        self._nodes: dict[int, Node] = {}
        self._alive: list[Tensor] = []  # so that no identity is used twice

    def add(self, tensor: Tensor, node: Node) -> None:
        self._nodes[id(tensor)] = node
        self._alive.append(tensor)

    def node(self, value: Any) -> Any:
        """Return the node of a tensor; numbers as they are."""
        if not isinstance(value, Tensor):
            if value is None or isinstance(value, (bool, int, float, torch.dtype, torch.device, torch.layout)):
                return value
            if isinstance(value, (list, tuple)):
                return tuple(value)
            return str(value)
        known = self._nodes.get(id(value))
        if known is None:
            raise Untraceable("a tensor that is neither a parameter, a gradient, a state nor a hyperparameter")
        return known

    def kind(self, tensor: Tensor) -> Kind:
        count = tensor.numel()
        rows, columns = (_ROWS, _COLUMNS) if self._dims > 1 else (1, _COLUMNS)
        batch = _MATRICES if self._dims > 2 else 1
        sizes: dict[int, Kind] = {
            batch * rows * columns: "element",
            batch * rows: "row",
            batch * columns: "column",
            batch: "matrix",
        }
        sizes[1] = "tensor"
        if self._dims == 1:
            sizes[_COLUMNS] = "element"
        if count not in sizes:
            raise Untraceable(f"a value of shape {tuple(tensor.shape)}")
        return sizes[count]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if func._schema.is_mutable or not isinstance(out, Tensor):
            raise Untraceable(f"the operation {func}")
        given = tuple(self.node(value) for value in args)
        options = {key: self.node(value) for key, value in (kwargs or {}).items()}
        kind = self.kind(out)
        if name in _SAME and isinstance(given[0], Node) and given[0].kind == kind:
            self.add(out, given[0])
        else:
            self.add(out, Node(name, given, kind, out.dtype, options))
        return out


def is_moving(name: str, value: Any) -> bool:
    """Whether a hyperparameter is an input of the kernel; a term that is absent at zero is left out of the kernel.

    >>> is_moving("lr", 0.0), is_moving("weight_decay", 0.0), is_moving("nesterov", True)
    (True, False, False)
    """
    if isinstance(value, Tensor):
        return value.ndim == 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return name in _ALWAYS_MOVING or (isinstance(value, float) and value != 0)


def _is_pair(name: str, value: Any) -> bool:
    """Whether this is a pair of betas, each of which moves."""
    return name.endswith("betas") and isinstance(value, (tuple, list))


def moving_values(names: tuple[str, ...], hyper: Mapping[str, Any]) -> list[Any]:
    """Return the present values of the hyperparameters that a trace names as inputs."""
    values = []
    for name in names:
        base, _, index = name.partition("/")
        values.append(hyper[base][int(index)] if index else hyper[base])
    return values


def trace(rule: Rule, states: Mapping[str, Tensor], hyper: Mapping[str, Any], exact: torch.dtype, dims: int) -> Trace:
    """Return the operations of ``rule.update`` on a small sample.

    Args:
        rule: whose update is written down.
        states: the states of one parameter, of which names, kinds and dtypes are used.
        hyper: hyperparameters: numbers that may move become inputs, flags and whole numbers are part of the trace.
        exact: float32 or float64, in which the update is computed.
        dims: 1, 2 or 3; see :class:`Trace`.

    Raises:
        Untraceable: branches on values, or an operation that is not a function of single elements.
    """
    shape = {1: (_COLUMNS,), 2: (_ROWS, _COLUMNS), 3: (_MATRICES, _ROWS, _COLUMNS)}[dims]
    recorder = _Recorder(dims)
    inputs: dict[str, Node] = {}

    def new(name: str, tensor: Tensor) -> Tensor:
        inputs[name] = node = Node("input", (name,), recorder.kind(tensor), tensor.dtype)
        recorder.add(tensor, node)
        return tensor

    # Sample states as the rule makes them: their shapes follow the sample's, whatever the parameter's own are.
    sample = rule.with_hyper(hyper).init(torch.ones(shape, dtype=exact))
    if sample.keys() != states.keys():
        raise Untraceable(f"the states {sorted(states)} where the rule keeps {sorted(sample)}")
    kept: dict[str, Tensor] = {}
    for name, value in sample.items():
        dtype = value.dtype
        if value.ndim == 0 and states[name].dtype is torch.float64:
            dtype = torch.float64
        kept[name] = new(name, torch.ones(value.shape, dtype=dtype))
    param, grad = new("param", torch.ones(shape, dtype=exact)), new("grad", torch.ones(shape, dtype=exact))
    values: dict[str, Any] = {}
    for name, value in hyper.items():
        if name == "params":
            continue
        if _is_pair(name, value):
            pair = [new(f"hyper/{name}/{i}", torch.full((), 0.5, dtype=torch.float64)) for i in range(len(value))]
            values[name] = tuple(pair)
        elif is_moving(name, value):
            values[name] = new(f"hyper/{name}", torch.full((), 0.5, dtype=torch.float64))
        else:
            values[name] = value
    try:
        with torch.no_grad(), recorder:
            new_param, new_states = rule.update(param, grad, kept, values)
    except Untraceable:
        raise
    except Exception as error:  # whatever an equation does with tensors in place of numbers
        raise Untraceable(f"{type(error).__name__}: {error}") from error
    outputs = {"param": recorder.node(new_param), **{name: recorder.node(v) for name, v in new_states.items()}}
    return Trace(inputs, {name: node for name, node in outputs.items() if node is not inputs[name]}, dims)


def walk(roots: list[Node], visit: Callable[[Node], None]) -> None:
    """Call *visit* on every node that *roots* depend on, arguments first, each once."""
    seen: set[int] = set()

    def go(node: Node) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for value in (*node.args, *node.options.values()):
            if isinstance(value, Node):
                go(value)
        visit(node)

    for root in roots:
        go(root)
