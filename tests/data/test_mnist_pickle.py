"""The Theano tutorials' file, as Python 2 wrote it, and files that only look like it."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.data import read_mnist_pickle

RNG = np.random.default_rng(0)


def pair(n: int) -> tuple[Any, Any]:
    return RNG.random((n, 784), dtype=np.float32), RNG.integers(0, 10, n)


WHOLE = (pair(5), pair(3), pair(2))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_three_pairs(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(WHOLE, protocol)))
    for found, expected in zip(read_mnist_pickle(path), WHOLE, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        assert (found[0].dtype, found[1].dtype) == (np.float32, np.int64)


OTHER = [
    (WHOLE[:2], r"holds 2 parts, but mnist.pkl holds train, valid and test"),
    ({"train": 1}, r"holds dict, but"),
    ((WHOLE[0], WHOLE[1][0], WHOLE[2]), r"holds a valid part that is no pair"),
    ((WHOLE[0], ("a", "b"), WHOLE[2]), r"holds a valid part without arrays"),
    ((WHOLE[0], WHOLE[1], (np.ones((2, 3)), np.ones(4))), r"holds a test part of shapes \(2, 3\) and \(4,\)"),
    ((WHOLE[0], WHOLE[1], (np.ones((2, 3, 3)), np.ones(2))), r"holds a test part of shapes \(2, 3, 3\) and \(2,\)"),
]


@pytest.mark.parametrize(("content", "said"), OTHER)
def test_other_arrays(content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mnist.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=rf"read_mnist_pickle: .*mnist.pkl {said}"):
        read_mnist_pickle(path)


def test_a_malicious_file_is_refused(tmp_path: Path) -> None:
    path, sentinel = tmp_path / "mnist.pkl.gz", tmp_path / "sentinel"
    path.write_bytes(gzip.compress(f"cos\nmkdir\n(V{sentinel}\ntR.".encode()))
    with pytest.raises(ValueError, match=r"mnist.pkl.gz was refused: it asks for os.mkdir"):
        read_mnist_pickle(path)
    assert not sentinel.exists()
