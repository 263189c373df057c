"""Many updates of a stack of small chains in one call: forward, loss, backward, clipping and the rule's own kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.data import Split
from thalweg.loss import MSE, CrossEntropy, Loss
from thalweg.optim import Rule, State

from .bucket import Plan, address
from .c_chain import ACTIVATIONS, JOB, LOSSES, MEMBER, chain_function
from .c_compiler import NoCompiler
from .links import parameter_names
from .plans import make_plan
from .stacked_forward import ChainForward, StackedForward
from .stacked_step import Members
from .trace import Untraceable

__all__ = ["REFUSALS", "Chain", "ChainKernel", "member_records", "read_chain", "run_chains"]

#: What making a :class:`ChainKernel` raises where there can be none.
REFUSALS = (NoCompiler, Untraceable)
_DTYPES = (torch.float32, torch.float64)
_KNOWN = {torch.relu: "relu", torch.tanh: "tanh", torch.sigmoid: "sigmoid"}
_MOST_LAYERS = 63
#: Bytes of the batches that stay in the second cache while members pass over them, in both orders.
_CACHED = 1 << 19

_plans: dict[tuple[str, torch.dtype], Plan] = {}

Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """A chain of linear layers and what its output costs, as the kernel knows them.

    Attributes:
        paths: of the layers' modules.
        widths: of the input and of every layer's output.
        activations: after each layer, numbers of ``ACTIVATIONS``.
        loss: number of ``LOSSES``.
        smoothing: of the labels.
        dtype: of parameters and rows.
    """

    paths: tuple[str, ...]
    widths: tuple[int, ...]
    activations: tuple[int, ...]
    loss: int
    smoothing: float
    dtype: torch.dtype

    def rows(self, parts: Split, own: bool) -> tuple[Tensor, Tensor, int]:
        """Return (inputs, targets, rows) of a batch as the kernel reads them."""
        x, y = parts.args[0], parts.target
        x = x if x.dtype == self.dtype and x.is_contiguous() else x.to(self.dtype).contiguous()
        kind = torch.int64 if self.loss == 0 else self.dtype
        y = y if y.dtype == kind and y.is_contiguous() else y.to(kind).contiguous()
        return x, y, x.shape[int(own)]

    def places(self, params: Mapping[str, Tensor], count: int) -> Integers:
        """Return the addresses of every member's weights and biases, **(K, 2L)**; 0 where a layer has no bias."""
        found = np.zeros((count, 2 * len(self.paths)), dtype=np.int64)
        members = np.arange(count)
        for layer, path in enumerate(self.paths):
            for place, name in enumerate(parameter_names(path)):
                if name in params:
                    tensor = params[name]
                    found[:, 2 * layer + place] = tensor.data_ptr() + members * tensor.stride(0) * tensor.element_size()
        return found


def read_chain(forward: StackedForward, loss: Loss, parts: Split) -> Chain | None:
    """Return what the kernel needs to know of a model, its loss and a batch; None where it does not know one of them.

    It knows linear layers with ReLU, tanh or sigmoid behind them, cross entropy over classes that all count alike, and
    mean squared error, in float32 and float64 on the CPU.
    """
    if not isinstance(forward, ChainForward) or parts.row_weight is not None or not isinstance(parts.target, Tensor):
        return None
    paths: list[str] = []
    widths: list[int] = []
    activations: list[int] = []
    for link in forward.links:
        if link.kind == "linear":
            assert isinstance(link.module, nn.Linear)
            widths += [link.module.in_features] if not widths else []
            widths.append(link.width)
            paths.append(link.path)
            activations.append(0)
        elif link.kind == "function" and link.function in _KNOWN and activations[-1] == 0:
            activations[-1] = ACTIVATIONS.index(_KNOWN[link.function])
        elif link.kind != "dropout" or getattr(link.module, "p", 1.0) > 0:
            return None
    params = list(forward.module.parameters())
    dtype, device = params[0].dtype, params[0].device
    plain = device.type == "cpu" and dtype in _DTYPES and all(param.requires_grad for param in params)
    if not plain or len(paths) > _MOST_LAYERS or list(forward.module.buffers()):
        return None
    number = _loss_number(loss, parts, widths[-1])
    if number is None or chain_function(str(dtype).removeprefix("torch.")) is None:
        return None
    smoothing = float(getattr(loss, "label_smoothing", 0.0))
    return Chain(tuple(paths), tuple(widths), tuple(activations), number, smoothing, dtype)


def _loss_number(loss: Loss, parts: Split, outputs: int) -> int | None:
    target, rows = parts.target, len(parts.args[0])
    if type(loss) is CrossEntropy and not target.is_floating_point() and target.shape == (rows,) and outputs > 1:
        _, weight = loss(torch.zeros(1, outputs), torch.zeros(1, dtype=torch.int64))
        return LOSSES.index("cross_entropy") if isinstance(weight, int) else None  # else some count more than others
    if type(loss) is MSE and target.numel() == rows * outputs:
        return LOSSES.index("mse")
    return None


@dataclass
class ChainKernel:
    """K members of one rule whose parameters and states lie member by member in a few large tensors.

    Their parameters and states become views of these, which the kernel changes in place.

    Attributes:
        chain: the model and its loss.
        members: whose parameters and states are set anew by making this.
        rule, sample: of all members: the hyperparameters' places, filled with any numbers that are not 0.
        alike: param group → the first one with the same hyperparameters.
        smoothing, value_limits, norm_limits: of each member, **(K,)**; limits are infinite where it has none.

    Raises:
        NoCompiler, Untraceable: the rule's update cannot be a kernel here.
    """

    chain: Chain
    members: Members
    rule: Rule
    sample: Mapping[str, Any]
    alike: Sequence[int]
    smoothing: Doubles
    value_limits: Doubles
    norm_limits: Doubles
    plan: Plan = field(init=False)
    groups: list[int] = field(init=False)

    def __post_init__(self) -> None:
        members, count = self.members, self.members.count
        group = {name: self.alike[members.groups[name]] for name in members.params}
        self.groups = sorted(set(group.values()))
        names = sorted(members.params, key=lambda name: group[name])  # keeps the order within a group
        sizes = [members.params[name][0].numel() for name in names]
        first = members.states[names[0]]
        param = members.params[names[0]][0]
        state = {key: value[0] for key, value in first.items()}
        self.plan = _plan(self.rule, param, state, self.sample)
        self.size = sum(sizes)
        starts = dict(zip(names, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self._params = _side_by_side([members.params[name] for name in names])
        self._states: State = {}
        for key, value in state.items():
            parts = [members.states[name][key] for name in names]
            if value.dim() == 0:
                one_each = [members.states[next(n for n in names if group[n] == g)][key] for g in self.groups]
                self._states[key] = torch.stack(one_each, 1)
            else:
                self._states[key] = _side_by_side(parts)
        for name, size in zip(names, sizes, strict=True):
            shape, here = members.params[name].shape, slice(starts[name], starts[name] + size)
            members.params[name] = self._params[:, here].view(shape)
            members.states[name] = {
                key: value[:, self.groups.index(group[name])] if state[key].dim() == 0 else value[:, here].view(shape)
                for key, value in self._states.items()
            }
        self._lengths = np.array(
            [sum(s for n, s in zip(names, sizes, strict=True) if group[n] == g) for g in self.groups], dtype=np.int64
        )
        self._offsets = np.array(
            [starts.get(name, -1) for path in self.chain.paths for name in parameter_names(path)], dtype=np.int64
        )
        self._places = self.chain.places(members.params, count)
        self._table = self._pointers(count)

    def _pointers(self, count: int) -> Integers:
        """Return, for every member and group, the row of the rule's kernel: addresses of parameters and states."""
        table = np.zeros((count, len(self.groups), 3 + len(self.plan.names)), dtype=np.int64)
        row, group = np.arange(count)[:, None], np.arange(len(self.groups))[None, :]
        begins = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])[None, :]
        for column, name in enumerate(self.plan.names, start=3):
            if name == "grad":
                continue
            tensor = self._params if name == "param" else self._states[name]
            within = group if name != "param" and self.plan.kinds[name] == "tensor" else begins
            table[:, :, column] = tensor.data_ptr() + (row * tensor.stride(0) + within) * tensor.element_size()
        return table

    def records(self, hypers: Doubles) -> Integers:
        """Return what the kernel is told of each member, given hyperparameters **(S or 1, K, groups, moving)**."""
        count = self.members.count
        found = np.zeros((count, len(MEMBER)), dtype=np.int64)
        row = np.arange(count)
        found[:, 0] = _function_address(self.plan)
        found[:, 1] = address(self._table) + row * self._table.strides[0]
        found[:, 2], found[:, 3] = self._table.shape[2], len(self.groups)
        found[:, 4] = address(self._lengths)
        found[:, 5] = address(hypers) + row * hypers.strides[1]
        found[:, 6] = hypers.strides[0] // 8 if len(hypers) > 1 else 0
        found[:, 7] = hypers.shape[3]
        found[:, 8] = address(self._offsets)
        found[:, 9] = address(self._places) + row * self._places.strides[0]
        return found


def _plan(rule: Rule, param: Tensor, state: State, sample: Mapping[str, Any]) -> Plan:
    """Return the kernel for one member's part of a group, traced once for all rules that differ in numbers only."""
    alike = rule.with_hyper(sample)
    key = (repr(alike), param.dtype)
    if key not in _plans:
        plan = make_plan(alike, param, state, sample, 1, at_random=False)
        assert isinstance(plan, Plan)
        _plans[key] = plan
    return _plans[key]


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(len(part), -1) for part in parts], 1)


def _function_address(plan: Plan) -> int:
    return ctypes.cast(plan.function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def member_records(chain: Chain, params: Mapping[str, Tensor]) -> tuple[Integers, Integers]:
    """Return (what the kernel is told of members that are only evaluated, what that points to)."""
    count = len(next(iter(params.values())))
    places = chain.places(params, count)
    found = np.zeros((count, len(MEMBER)), dtype=np.int64)
    found[:, 9] = address(places) + np.arange(count) * places.strides[0]
    return found, places


def run_chains(
    chain: Chain,
    batches: Sequence[tuple[Tensor, Tensor, int]],
    records: Integers,
    *,
    own: bool,
    size: int = 0,
    scalars: int = 0,
    smoothing: Doubles | None = None,
    value_limits: Doubles | None = None,
    norm_limits: Doubles | None = None,
) -> Doubles:
    """Let every member make an update from each batch; return the mean losses before them, **(S, K)**.

    Args:
        chain: the model and its loss.
        batches: as :meth:`Chain.rows` returned them.
        records: of the members, **(K, 10)**.
        own: whether each member has a batch of its own.
        size: parameters of a member; 0: nothing is updated, and losses are sums over rows instead of means.
        scalars: doubles that the rules' kernels keep.
        smoothing, value_limits, norm_limits: of each member.

    Raises:
        MemoryError: there was no room for a member's activations; nothing was done.
        IndexError: a target is no class; nothing was done.
    """
    run = chain_function(str(chain.dtype).removeprefix("torch."))
    count, steps = len(records), len(batches)
    pointers = np.array([(x.data_ptr(), y.data_ptr(), rows) for x, y, rows in batches], dtype=np.int64).T.copy()
    widths, activations = np.array(chain.widths, dtype=np.int64), np.array(chain.activations, dtype=np.int64)
    losses = np.empty((steps, count))
    most = int(pointers[2].max())
    block = max(1, _CACHED // max(1, 2 * most * chain.widths[0] * chain.dtype.itemsize))
    given = {
        "steps": steps,
        "members": count,
        "layers": len(chain.paths),
        "loss": chain.loss,
        "train": int(size > 0),
        "threads": torch.get_num_threads(),
        "per_block": min(block, steps),
        "own": int(own),
        "size": size,
        "scalars": scalars,
        "xs": address(pointers[0]),
        "ys": address(pointers[1]),
        "rows": address(pointers[2]),
        "widths": address(widths),
        "activations": address(activations),
        "each": address(records),
        "smoothing": 0 if smoothing is None else address(smoothing),
        "value_limits": 0 if value_limits is None else address(value_limits),
        "norm_limits": 0 if norm_limits is None else address(norm_limits),
        "losses": address(losses),
    }
    job = np.array([given[name] for name in JOB], dtype=np.int64)
    failure = run(address(job))
    if failure == 1:
        raise MemoryError("race: no room for a member's activations")
    if failure:
        raise IndexError(
            f"race: a target is no class: the model has {chain.widths[-1]} outputs, so that targets are 0 to "
            f"{chain.widths[-1] - 1}; correct the data or widen the last layer."
        )
    return losses
