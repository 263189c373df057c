"""Data files with bytes changed, lost or added: read, or refused in our words; nothing run, nothing written."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg.data import read_idx, read_mnist_pickle, read_table
from thalweg.recipe.places import is_refusal


class Trap:
    """Leaves a file behind where its pickle is executed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(40, dtype=np.float32).reshape(10, 4))
    return out.getvalue()


def stream(path: Path) -> None:
    for _ in tw.data.stream(str(path), target=[3] if path.suffix == ".npy" else "c", batch_size=4).batches(0):
        pass


def pickled() -> bytes:
    part = (np.zeros((3, 784), np.float32), np.arange(3))
    return gzip.compress(pickle.dumps((part, part, part), protocol=2), mtime=0)


IDX = bytes([0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, *range(6)])
CSV = b"a,b,c\n" + b"".join(b"%d,%d.5,%d\n" % (i, i, i * 2) for i in range(8))
RATINGS = b"".join(b"%d\t%d\t%d\t88125094%d\n" % (i % 3, i % 4, 1 + i % 5, i) for i in range(10))

FILES: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "idx": ("x-idx2-ubyte", IDX, read_idx),
    "idx.gz": ("x-idx2-ubyte.gz", gzip.compress(IDX, mtime=0), read_idx),
    "mnist.pkl.gz": ("mnist.pkl.gz", pickled(), read_mnist_pickle),
    "csv": ("table.csv", CSV, read_table),
    "npy stream": ("rows.npy", npy(), stream),
    "csv stream": ("rows.csv", CSV, stream),
    "ratings": ("u.data", RATINGS, tw.recommend.read_ratings),
}


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the content with a few bytes changed, put in, or cut off."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, min(len(found), 200) - 1)))
        kind = draw(st.sampled_from(["change", "change", "insert", "cut"]))
        if kind == "change" and found:
            found[place] = draw(st.integers(0, 255))
        elif kind == "insert":
            found[place:place] = draw(st.binary(min_size=1, max_size=6))
        else:
            del found[place:]
    return bytes(found)


# pyarrow decodes a row of too many values for our handler, and where it is no UTF-8 says so on the side.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", list(FILES))
def test_spoiled_files_are_read_or_refused_in_words(kind: str) -> None:
    name, content, read = FILES[kind]

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(spoiled(content))
    def check(spoilt: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / name
            path.write_bytes(spoilt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                refused: Exception | None = None
                try:
                    read(path)
                except (ValueError, TypeError) as error:
                    refused = error
            assert refused is None or is_refusal(refused), f"{type(refused).__name__} out of a library: {refused}"
            assert [entry.name for entry in Path(place).iterdir()] == [name]

    check()


def test_whole_files_are_read(tmp_path: Path) -> None:
    for name, content, read in FILES.values():
        (tmp_path / name).write_bytes(content)
        read(tmp_path / name)


@pytest.mark.parametrize("kind", ["mnist.pkl.gz", "npy stream"])
def test_no_code_of_a_data_file_is_run(kind: str, tmp_path: Path) -> None:
    name, _, read = FILES[kind]
    trap = str(tmp_path / "sprung")
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(pickle.dumps((Trap(trap),) * 3)))
    else:
        np.save(tmp_path / name, np.array([[Trap(trap)]], dtype=object), allow_pickle=True)
    with pytest.raises((ValueError, TypeError), match=r"\w+: "):
        read(tmp_path / name)
    assert not Path(trap).exists()
