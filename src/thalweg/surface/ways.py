"""How the loss at many points is computed: as a chain, stacked, or one point at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..data import Split
from ..engine.stacked_totals import totals
from ..loss import MSE
from ..objective import logits_of
from .chain import Chain, chain_of
from .compiled_chain import CompiledChain, compiled_chain
from .cut import Cut
from .first_layers import FirstLayer, first_layers
from .landscape import Landscape

__all__ = ["Way", "choose", "rows_of"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
#: Bytes of activations that one step of the work should touch: what a core's own cache holds; what keeps a GPU busy.
_CACHE = 3 << 19
_GPU_CACHE = 1 << 28
#: The same for a chain's batched products, which all cores share: large enough that starting them costs little beside
#: them (measured from 1.5 to 12 MiB: a line of 500 points 0.39 to 0.20 s, a plane of 51×51 1.7 to 1.1 s on two cores).
_CHAIN_CACHE = 3 << 22
#: Bytes that the parameters of the points at hand may take.
_PARAMETERS = 1 << 26
_GPU_PARAMETERS = 1 << 31


def rows_of(parts: Split, start: int, stop: int) -> Split:
    """Return rows *start* to *stop* of a batch; what has not one entry per row stays as it is."""
    count = row_count(parts)

    def cut(value: Any) -> Any:
        return value[start:stop] if isinstance(value, Tensor) and value.dim() and len(value) == count else value

    return Split(*(tree_map(cut, part) for part in parts))


def row_count(parts: Split) -> int:
    """Return the number of rows of a batch: the length of its first tensor."""
    found: list[int] = []
    tree_map(lambda v: found.append(len(v)) if isinstance(v, Tensor) and v.dim() else None, tuple(parts))
    return found[0] if found else 1


class Way(ABC):
    """One way to compute sums and weights at many points over some rows.

    Attributes:
        points: how many points at once.
        rows: how many rows at once.
        reason: why the points are not stacked, or an empty string.
    """

    name: ClassVar[str]
    points: int = 1
    rows: int = 1024
    reason: str = ""

    def __init__(self, land: Landscape, cut: Cut) -> None:
        self.land, self.cut = land, cut
        self.parts: Split | None = None
        self.coordinates = torch.empty(0)

    @contextmanager
    def ready(self) -> Any:
        """Hold whatever the way changes about the model."""
        yield

    def place(self, coordinates: Tensor) -> None:
        """Take the points, **(P, m)** float64 on the host."""
        self.coordinates = coordinates

    def begin(self, parts: Split) -> None:
        """Take other rows."""
        self.parts = parts

    @abstractmethod
    def totals(self, first: int, last: int) -> tuple[Tensor, Tensor | int]:
        """Return sums, **(K,)**, and weights at the points *first* to *last* over the rows at hand."""


class Chained(Way):
    """Batched products with the features before the rows; see :class:`thalweg.surface.chain.Chain`."""

    name: str = "stacked, features before rows"  # type: ignore[misc]

    def __init__(self, land: Landscape, cut: Cut, chain: Chain) -> None:
        super().__init__(land, cut)
        self.chain = chain
        if isinstance(chain, CompiledChain):
            self.name = "stacked, one kernel for all layers"
        first = next(iter(cut.center.values()))
        item, self.dtype = first.element_size(), first.dtype
        cuda = land.device.type != "cpu"
        self.rows = 16384 if cuda else 2048
        if isinstance(chain, CompiledChain):  # only what leaves the last layer is written to memory
            self.rows, written = 8192, chain.last
        else:
            written = chain.width
        room = (_GPU_CACHE if cuda else _CHAIN_CACHE) // (self.rows * written * item)
        self._bytes = sum(cut.center[name].numel() for name in chain.later) * item
        self._most = (_GPU_PARAMETERS if cuda else _PARAMETERS) // max(1, self._bytes)
        self.points = max(1, min(room, self._most))
        self._held = (0, 0)
        self._target: Tensor | None = None

    def place(self, coordinates: Tensor) -> None:
        super().place(coordinates)
        self._held = (0, 0)

    def begin(self, parts: Split) -> None:
        super().begin(parts)
        self.chain.begin(parts.args[0])
        self._target = self._for_squares(parts)

    def _for_squares(self, parts: Split) -> Tensor | None:
        """Return the target as **(C, B)** where the kernel adds up squared errors itself."""
        target = parts.target
        if not isinstance(self.chain, CompiledChain) or type(self.land.objective.loss) is not MSE:
            return None
        if parts.row_weight is not None or not isinstance(target, Tensor) or target.dtype != self.dtype:
            return None
        count = len(parts.args[0])
        return target.reshape(count, -1).t().contiguous() if target.numel() == count * self.chain.last else None

    def totals(self, first: int, last: int) -> tuple[Tensor, Tensor | int]:
        assert self.parts is not None
        start, stop = self._held
        if not start <= first < last <= stop:  # parameters of many points at once, of all where they fit
            start, stop = first, max(last, min(len(self.coordinates), first + self._most))
            if stop == len(self.coordinates) and stop <= self._most:
                start = 0
            self._held = (start, stop)
            self.chain.place(self.coordinates[start:stop])
        if self._target is not None:
            assert isinstance(self.chain, CompiledChain)
            return self.chain.squared_differences(first - start, last - start, self._target), self._target.numel()
        output = self.chain.outputs(first - start, last - start)
        return totals(self.land.objective.loss, output, self.parts, classes_first=True)


class _Functional(Way):
    """The model itself in functional form, its first layers affine in the coordinates."""

    def __init__(self, land: Landscape, cut: Cut, layers: list[FirstLayer]) -> None:
        super().__init__(land, cut)
        self.layers = layers
        skipped = {name for layer in layers for name in layer.names}
        self.names = [name for name in cut.center if name not in skipped]
        self.fixed = {name: cut.center[name] for name in skipped}

    @contextmanager
    def ready(self) -> Any:
        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(layer.inserted())
            yield

    def begin(self, parts: Split) -> None:
        super().begin(parts)
        for layer in self.layers:
            layer.forget()

    def output(self, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], coordinates: Tensor) -> Any:
        """Return the model's output at one point."""
        assert self.parts is not None
        for layer in self.layers:
            layer.coordinates = coordinates
        held = ({**self.fixed, **params}, {**self.cut.buffers, **buffers})
        with self.land.precision.context():
            return logits_of(
                torch.func.functional_call(self.land.module, held, self.parts.args, dict(self.parts.kwargs))
            )


class Stacked(_Functional):
    """``vmap`` of the model's functional form."""

    name = "stacked"

    def totals(self, first: int, last: int) -> tuple[Tensor, Tensor | int]:
        assert self.parts is not None
        coordinates = self.coordinates[first:last].to(self.land.device)
        params, buffers = self.cut.params(coordinates, self.names), self.cut.moved_buffers(coordinates)
        output = torch.func.vmap(self.output, randomness="error")(params, buffers, coordinates)
        return totals(self.land.objective.loss, output, self.parts)


class Single(_Functional):
    """One point at a time."""

    name = "one at a time"

    def totals(self, first: int, last: int) -> tuple[Tensor, Tensor | int]:
        assert self.parts is not None
        found = [self._total(point) for point in self.coordinates[first:last]]
        sums = torch.stack([total for total, _ in found])
        weights = [weight for _, weight in found]
        if isinstance(weights[0], int):
            return sums, weights[0]
        return sums, torch.stack([torch.as_tensor(weight) for weight in weights])

    def _total(self, point: Tensor) -> tuple[Tensor, Tensor | int]:
        assert self.parts is not None
        # On the host: a number that scales a tensor needs no copy to the device.
        for layer in self.layers:
            layer.numbers = point.tolist()
        buffers = self.cut.moved_buffers(point)
        output = self.output(self.cut.params(point, self.names), buffers, point)
        with self.land.precision.context():
            return self.land.objective.loss(output, self.parts.target, self.parts.row_weight)


def choose(land: Landscape, cut: Cut, work: float = 0.0) -> Way:
    """Return the way for this model: the first that applies and gives the same values as the model itself.

    Args:
        land: model, loss and data.
        cut: the line or plane.
        work: rows x points to come, 0 where nobody knows; much work is worth a compiled kernel.
    """
    parts = land.parts(land.source.first())
    parts = rows_of(parts, 0, min(32, row_count(parts)))
    plain = Single(land, cut, [])
    trial = torch.tensor([[0.0] * len(cut.directions), [0.37, -0.61][: len(cut.directions)]], dtype=torch.float64)
    plain.place(trial)
    plain.begin(parts)
    expected = plain.totals(0, len(trial))[0]
    device = land.device.type
    chain = (
        chain_of(land.module, cut)
        if land.precision.dtype is None and len(parts.args) == 1 and not parts.kwargs
        else None
    )
    for one in (None if chain is None else compiled_chain(chain, work), chain):
        if one is not None and _agrees(chained := Chained(land, cut, one), parts, trial, expected):
            return chained
    single = _single(land, cut, parts, plain, trial, expected)
    stacked = Stacked(land, cut, _found_layers(land, cut, parts) if single.layers else [])
    width = _activation_bytes(land, cut, parts, plain)
    single.reason = _refusal(stacked, parts, trial, expected)
    cache = _CACHE * torch.get_num_threads() if device == "cpu" else _GPU_CACHE
    size = sum(cut.center[name].numel() * cut.center[name].element_size() for name in stacked.names)
    most = (_PARAMETERS if device == "cpu" else _GPU_PARAMETERS) // max(1, size)
    if not single.reason and device == "cpu" and any(isinstance(m, _CONVOLUTIONS) for m in land.module.modules()):
        single.reason = "convolutions whose weights differ from point to point are no faster stacked on a CPU"
    if not single.reason and most < 2:
        single.reason = f"the parameters of two points do not fit into the {_PARAMETERS >> 20} MiB set aside for them"
    way: Way = single if single.reason else stacked
    most_rows = 1024 if device == "cpu" else 65536
    way.rows = max(64, min(most_rows, 4 * cache // max(1, width)))
    if way is stacked:
        way.rows = max(32, min(most_rows, cache // max(1, width)))
        way.points = max(1, min(most, cache // max(1, way.rows * width), 4096))
        if way.points < 8:  # few rows, many points rather than the other way round: the products stay of one size
            way.points = max(1, min(8, most))
            way.rows = max(32, min(way.rows, cache // max(1, way.points * width)))
    return way


def _single(land: Landscape, cut: Cut, parts: Split, plain: Single, trial: Tensor, expected: Tensor) -> Single:
    """Return one point at a time in its fastest form that gives the model's own values."""
    for channels_last in (True, False) if land.device.type == "cpu" else (False,):
        layers = _found_layers(land, cut, parts)
        for layer in layers:
            layer.channels_last = channels_last
        single = Single(land, cut, layers)
        try:
            if layers and _agrees(single, parts, trial, expected):
                return single
        except RuntimeError:  # a view of what is no longer laid out as the model expects
            continue
    return Single(land, cut, [])


def _found_layers(land: Landscape, cut: Cut, parts: Split) -> list[FirstLayer]:
    def run(params: dict[str, Tensor]) -> None:
        held = (params, dict(cut.buffers))
        with land.precision.context():
            torch.func.functional_call(land.module, held, parts.args, dict(parts.kwargs))

    return first_layers(land.module, cut, parts, run)


def _agrees(way: Way, parts: Split, trial: Tensor, expected: Tensor) -> bool:
    """Whether *way* gives the model's own losses at two points; a model that reads a weight past its layer differs."""
    with way.ready():
        way.place(trial)
        way.begin(parts)
        found = way.totals(0, len(trial))[0]
    tolerance = 1e-9 if expected.dtype == torch.float64 else 1e-3
    return torch.allclose(found.to(expected.dtype), expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def _refusal(way: Way, parts: Split, trial: Tensor, expected: Tensor) -> str:
    """Return why the points cannot be stacked, or an empty string."""
    try:
        if _agrees(way, parts, trial, expected):
            return ""
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        return "this model cannot be stacked: " + (str(error).strip() or type(error).__name__).splitlines()[0]
    return "stacked, this model gives other values than one at a time"


def _activation_bytes(land: Landscape, cut: Cut, parts: Split, plain: Single) -> int:
    """Return the most bytes per row that one layer reads and writes."""
    most = [1]
    rows = row_count(parts)

    def watch(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if next(module.children(), None) is None:
            tensors = [t for t in (*args, output) if isinstance(t, Tensor)]
            most.append(math.ceil(sum(t.numel() * t.element_size() for t in tensors) / rows))

    handles: list[Any] = [module.register_forward_hook(watch) for module in land.module.modules()]
    try:
        plain.begin(parts)
        plain.totals(0, 1)
    finally:
        for handle in handles:
            handle.remove()
    return max(most)
