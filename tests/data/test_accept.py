"""Every kind of data that `fit` takes, and every kind that it refuses: one row each."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from thalweg.data import LoaderSource, MapStyleSource, MemorySource, load, source, split
from thalweg.data.first_batch import tensors_of

X = torch.arange(12, dtype=torch.float32).reshape(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])
W = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
F32, I64 = torch.float32, torch.int64
Named = namedtuple("Named", ["inputs", "labels"])


class Squares(Dataset[tuple[torch.Tensor, int]]):
    """A map-style data set that is no TensorDataset."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return X[index], int(Y[index])


class Stream(IterableDataset[tuple[torch.Tensor, int]]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        yield from ((X[index], int(Y[index])) for index in range(len(X)))


class Batches:
    """An iterable of batches that is no DataLoader."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(X.split(4), Y.split(4), strict=True)


class Kind(NamedTuple):
    """A row: the data, who serves them, and each tensor of the first batch of four rows: name → (dtype, values)."""

    name: str
    make: Callable[[], Any]
    served_by: type
    first: dict[str, tuple[torch.dtype, Any]]


XY = {"x": (F32, X[:4].tolist()), "y": (I64, Y[:4].tolist())}
FRAME = {"a": X[:, 0].numpy().astype("float64"), "b": X[:, 1].numpy().astype("int32")}

KINDS = [
    Kind("tensors", lambda: (X, Y), MemorySource, XY),
    Kind("a single tensor", lambda: X, MemorySource, {"x": XY["x"]}),
    Kind("a tuple of one", lambda: (X,), MemorySource, {"x": XY["x"]}),
    Kind("no target", lambda: (X, None), MemorySource, {"x": XY["x"]}),
    Kind("row weights", lambda: (X, Y, W), MemorySource, {**XY, "row_weight": (F32, W[:4].tolist())}),
    Kind("no row weights", lambda: (X, Y, None), MemorySource, XY),
    Kind(
        "float64 tensors stay", lambda: (X.double(), Y), MemorySource, {"x": (torch.float64, XY["x"][1]), "y": XY["y"]}
    ),
    Kind("NumPy float64 and int32", lambda: (X.double().numpy(), Y.int().numpy()), MemorySource, XY),
    Kind("lists of numbers", lambda: (X.tolist(), Y.tolist()), MemorySource, XY),
    Kind("one list of numbers", lambda: X.tolist(), MemorySource, {"x": XY["x"]}),
    Kind("DataFrame and Series", lambda: (pd.DataFrame(FRAME), pd.Series(Y.numpy(), name="label")), MemorySource, XY),
    Kind(
        "a nullable DataFrame",
        lambda: (pd.DataFrame(FRAME).astype({"a": "Float64", "b": "Int64"}), pd.Index(Y.numpy())),
        MemorySource,
        XY,
    ),
    Kind("Arrow table and array", lambda: (pa.table(FRAME), pa.array(Y.numpy())), MemorySource, XY),
    Kind(
        "Arrow batch and chunks",
        lambda: (pa.RecordBatch.from_pydict(FRAME), pa.chunked_array([Y[:1].numpy(), Y[1:].numpy()])),
        MemorySource,
        XY,
    ),
    Kind(
        "Arrow lists of a fixed size",
        lambda: (pa.FixedSizeListArray.from_arrays(pa.array(X.flatten().numpy()), 2), pa.array(Y.numpy())),
        MemorySource,
        XY,
    ),
    Kind(
        "several inputs",
        lambda: ((X, W.numpy()), Y),
        MemorySource,
        {"x[0]": XY["x"], "x[1]": (F32, W[:4].tolist()), "y": XY["y"]},
    ),
    Kind(
        "several inputs in a list",
        lambda: ([X, W], Y),
        MemorySource,
        {"x[0]": XY["x"], "x[1]": (F32, W[:4].tolist()), "y": XY["y"]},
    ),
    Kind(
        "several targets",
        lambda: (X, {"class": Y, "size": W}),
        MemorySource,
        {"x": XY["x"], "y['class']": XY["y"], "y['size']": (F32, W[:4].tolist())},
    ),
    Kind("a dict", lambda: {"ids": Y, "labels": Y.numpy()}, MemorySource, {"ids": XY["y"], "labels": XY["y"]}),
    Kind("a dict of inputs", lambda: ({"a": X}, Y), MemorySource, {"x['a']": XY["x"], "y": XY["y"]}),
    Kind("a named tuple", lambda: Named(X, Y), MemorySource, XY),
    Kind("TensorDataset", lambda: TensorDataset(X, Y), MemorySource, XY),
    Kind(
        "Subset of a TensorDataset", lambda: Subset(TensorDataset(X.flip(0), Y.flip(0)), [5, 4, 3, 2]), MemorySource, XY
    ),
    Kind("Subset of a Subset", lambda: Subset(Subset(TensorDataset(X, Y), range(5)), range(4)), MemorySource, XY),
    Kind("a map-style Dataset", Squares, MapStyleSource, XY),
    Kind("Subset of a Dataset", lambda: Subset(Squares(), range(5)), MapStyleSource, XY),
    Kind("ConcatDataset", lambda: ConcatDataset([Squares(), Squares()]), MapStyleSource, XY),
    Kind("a list of samples", lambda: [(X[i], Y[i]) for i in range(6)], MapStyleSource, XY),
    Kind("a list of dicts", lambda: [{"x": X[i], "y": int(Y[i])} for i in range(6)], MapStyleSource, XY),
    Kind("DataLoader", lambda: DataLoader(TensorDataset(X, Y), batch_size=4), LoaderSource, XY),
    Kind("IterableDataset", Stream, LoaderSource, XY),
    Kind("an iterable of batches", Batches, LoaderSource, XY),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_data(kind: Kind) -> None:
    served = source(kind.make(), batch_size=4, shuffle=False)
    assert type(served) is kind.served_by
    # An example batch and the first batch of the unshuffled epoch hold the same rows.
    for batch in (served.first(), next(served.batches(0))):
        found = {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors_of(batch)}
        assert found == kind.first
    served.check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_gives_every_epoch_whole(kind: Kind) -> None:
    served = source(kind.make(), batch_size=4, seed=3)
    counts = []
    for epoch in range(2):
        counts.append(sum(len(next(tensors_of(batch))[1]) for batch in served.batches(epoch)))
    assert counts[0] == counts[1] >= 4
    assert served.n is None or counts[0] == served.n


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_splits_into_arguments(kind: Kind) -> None:
    parts = split(source(kind.make(), batch_size=4, shuffle=False).first())
    assert parts.args or parts.kwargs
    assert (parts.row_weight is not None) == ("row_weight" in kind.first)


def test_the_structure_is_the_users() -> None:
    batch = source(Named(X, {"a": (Y, W)}), batch_size=4).first()
    assert isinstance(batch, Named)
    assert isinstance(batch.labels["a"], tuple)


def test_a_source_is_itself() -> None:
    served = source((X, Y))
    assert source(served) is served


def test_settings_reach_every_kind() -> None:
    for data in ((X, Y), Squares()):
        served = source(data, batch_size=4, drop_last=True, device="cpu")
        assert (served.n, served.batch_size, served.steps_per_epoch, served.device) == (6, 4, 1, torch.device("cpu"))


REFUSED = [
    (
        "a generator",
        lambda: (row for row in X),
        TypeError,
        r"got a generator, which can be read only once.*list\(samples\)",
    ),
    ("an iterator", lambda: iter([1]), TypeError, r"got a list_iterator, which can be read only once"),
    ("a path", lambda: "train.csv", TypeError, r"the path 'train.csv'.*read_table"),
    ("a Path", lambda: Path("train.csv"), TypeError, r"the path 'train.csv'.*read_table"),
    ("a number", lambda: 3, TypeError, r"got 3, a int, which holds no samples; pass \(X, y\)"),
    ("None", lambda: None, TypeError, r"got None, a NoneType"),
    ("a list of arrays", lambda: [X, Y], TypeError, r"a list of 2 arrays may mean several inputs.*write a tuple"),
    ("a whole data set", lambda: load("linear", n=20), TypeError, r"pass one part, such as data\.train"),
    ("an unknown part", lambda: (X, object()), TypeError, r"data: y is a object, not an array"),
    ("None between", lambda: (None, Y), TypeError, r"data: x is None, not an array"),
    ("no arrays", lambda: (), ValueError, r"no array was given"),
    ("an empty dict", dict, ValueError, r"no array was given"),
    ("an empty list", list, ValueError, r"data: x has no rows, shape \(0,\)"),
    ("no rows", lambda: (X[:0], Y[:0]), ValueError, r"data: x has no rows, shape \(0, 2\)"),
    ("an empty Dataset", lambda: Subset(Squares(), []), ValueError, r"the Subset has no samples"),
    (
        "an empty loader",
        lambda: DataLoader(TensorDataset(X[:0]), batch_size=2),
        ValueError,
        r"the DataLoader has no batches \(its data hold 0 samples\)",
    ),
    ("unequal lengths", lambda: (X, Y[:5]), ValueError, r"x has 6 rows, but y has 5"),
    ("unequal inputs", lambda: ((X, X[:3]), Y), ValueError, r"x\[0\] has 6 rows, but x\[1\] has 3"),
    ("unequal dict", lambda: {"ids": X, "labels": Y[:2]}, ValueError, r"ids has 6 rows, but labels has 2"),
    ("a single number", lambda: (X, torch.tensor(1)), ValueError, r"y is a single number, not rows"),
    ("a single NumPy number", lambda: (X, np.array(1.0)), ValueError, r"y is a single number, not rows"),
    ("devices", lambda: (X, Y.to("meta")), ValueError, r"x is on cpu, but y is on meta; pass device"),
]


@pytest.mark.parametrize(("make", "error", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused(make: Callable[[], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        source(make(), batch_size=4)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"batch_size": 0}, ValueError, r"batch_size=0 must be >= 1"),
        ({"batch_size": -3}, ValueError, r"batch_size=-3 must be >= 1"),
        ({"batch_size": 2.0}, TypeError, r"batch_size=2.0 must be an integer, got float"),
        ({"batch_size": True}, TypeError, r"batch_size=True must be an integer, got bool"),
        ({"seed": "a"}, TypeError, r"seed='a' must be an integer, got str"),
        ({"batch_size": 7, "drop_last": True}, ValueError, r"6 rows do not fill one of batch_size=7"),
    ],
)
@pytest.mark.parametrize("data", [(X, Y), Squares()], ids=["memory", "map-style"])
def test_bad_settings(data: Any, settings: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        source(data, **settings)
