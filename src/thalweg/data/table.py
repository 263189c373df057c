"""CSV and Parquet files as features and a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import unknown_name

from .convert import to_tensor

__all__ = ["Table", "read_table"]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WHO = "data.read_table"


@dataclass(frozen=True)
class Table:
    """Columns of a file as tensors.

    Attributes:
        x: features, **(n, p)**: float32, or int64 (bool) where every column is of integers (bools).
        y: target, **(n,)**, or None where none was asked for; text becomes class numbers.
        feature_names: the p columns of *x*.
        target: the column of *y*.
        classes: the texts that the class numbers of *y* stand for, sorted; empty where the column holds numbers.
    """

    x: Tensor
    y: Tensor | None
    feature_names: tuple[str, ...]
    target: str | None
    classes: tuple[str, ...]

    @property
    def data(self) -> Any:
        """``(x, y)``, or ``x`` where there is no target: what `source` and ``fit`` take."""
        return self.x if self.y is None else (self.x, self.y)


def read_table(path: str | Path, *, target: str | None = None, features: Sequence[str] | None = None) -> Table:
    """Return columns of a CSV, TSV or Parquet file.

    Args:
        path: a file that ends in ``.csv``, ``.tsv`` (both also with ``.gz``) or ``.parquet``; CSV has a line of names.
        target: the column to predict; of text, its sorted values become the classes 0 … C−1.
        features: the columns to predict from; None takes all but the target.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated or of another format, a column is unknown or misses values.
        TypeError: a feature column holds no numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "iris.csv")
    ...     _ = path.write_text("width,species\\n0.5,setosa\\n1.5,virginica\\n0.25,setosa\\n")
    ...     table = read_table(path, target="species")
    >>> table.x.tolist(), table.y.tolist(), table.classes
    ([[0.5], [1.5], [0.25]], [0, 1, 0], ('setosa', 'virginica'))
    """
    path = Path(path)
    table = _read(path)
    known = [str(name) for name in table.column_names]
    for name in [*([target] if target is not None else []), *(features or [])]:
        if name not in known:
            raise unknown_name(f"{_WHO}: {path}", "column", name, known)
        if known.count(name) > 1:
            raise ValueError(f"{_WHO}: {path} has {known.count(name)} columns named {name!r}; give each its own name.")
    chosen = [name for name in known if name != target] if features is None else list(features)
    if target in chosen:
        raise ValueError(f"{_WHO}: {path}: column {target!r} is both target and feature; take it out of features.")
    if not chosen:
        raise ValueError(f"{_WHO}: {path} has no feature columns beside {target!r}; give at least one.")
    if not table.num_rows:
        raise ValueError(f"{_WHO}: {path} has the columns {', '.join(known)} but no rows; give it data.")
    x, names = to_tensor(table.select(chosen), str(path))
    y, classes = (None, ()) if target is None else _target(table.column(target), f"{path}: column {target!r}")
    return Table(x, y, names, target, classes)


def _read(path: Path) -> Any:
    """Return the file as an Arrow table."""
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"{_WHO}: reading {path} needs pyarrow; install it with thalweg[data].") from None
    ending = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if ending not in (*_SEPARATORS, ".parquet"):
        raise ValueError(
            f"{_WHO}: {path} ends in {path.suffix or 'nothing'!r}, so that its format is not known; give a .csv, "
            ".tsv or .parquet file."
        )
    if path.is_dir() or not path.exists():
        found = "a folder, not a file" if path.is_dir() else "not there"
        raise FileNotFoundError(f"{_WHO}: {path} is {found}; check the path (now in {Path.cwd()}).")
    try:
        if ending == ".parquet":
            return pa.parquet.read_table(path)
        table = pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter=_SEPARATORS[ending]))
        assert table.column_names is not None, "decoded here, where names that are no UTF-8 are told"
        return table
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{_WHO}: {path} ({path.stat().st_size} bytes) is no whole {ending[1:].upper()} file: "
            f"{str(error).strip().rstrip('.')}; check how it was written, or copy it again."
        ) from None


def _target(column: Any, name: str) -> tuple[Tensor, tuple[str, ...]]:
    import pyarrow as pa
    import pyarrow.compute as compute

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return to_tensor(column, name)[0], ()
    if column.null_count:
        to_tensor(column, name)  # refuses the missing value by its row
    texts = column.cast(pa.string())
    classes = tuple(sorted(compute.unique(texts).to_pylist()))
    numbers = compute.index_in(texts, value_set=pa.array(classes, pa.string()))
    return torch.from_numpy(numbers.to_numpy().astype("int64")), classes
