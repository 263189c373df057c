"""The IDX format of the MNIST files: a magic number, the dimensions, the values."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_idx"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(who: str, path: str | Path, advice: str) -> bytes:
    """Return a file's content, unpacked where it begins like gzip whatever its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, or its gzip stream is truncated or damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{who}: {path} is a folder, not a file; give the file inside it.")
    if not path.exists():
        raise FileNotFoundError(f"{who}: there is no file {path}; {advice}.")
    raw = path.read_bytes()
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{who}: {path} ({len(raw)} bytes) is a damaged or truncated gzip file ({error}); obtain it again."
        ) from None


def read_idx(path: str | Path) -> np.ndarray[Any, Any]:
    """Return the array in an IDX file, plain or gzipped.

    The format: two zero bytes, a byte for the type of the values (0x08 unsigned byte, 0x09 signed byte, 0x0B int16,
    0x0C int32, 0x0D float32, 0x0E float64), a byte for the number of dimensions, then each dimension as a big-endian
    uint32, then the values, big-endian, the last dimension fastest (LeCun, Cortes and Burges, *The MNIST database*).

    Args:
        path: the file; whether it is gzipped is read from its first bytes.

    Returns:
        The array in the machine's byte order, writable; **(n, 28, 28)** uint8 for MNIST's images, **(n,)** for labels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no IDX file, or holds fewer or more bytes than its header says.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    data = read_bytes("read_idx", path, "`thalweg data mnist` or `make data` obtains MNIST")
    if len(data) < 4 or data[:2] != b"\x00\x00" or data[2] not in _DTYPES:
        raise ValueError(
            f"read_idx: {path} is no IDX file: it begins with {data[:4].hex(' ') or 'nothing'}, but an IDX file begins "
            f"with 00 00, a type ({', '.join(f'{code:02x}' for code in _DTYPES)}) and the number of dimensions; check "
            "the path, or obtain the file again."
        )
    dtype, dimensions = np.dtype(_DTYPES[data[2]]), data[3]
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise ValueError(
            f"read_idx: {path} is truncated: its header takes {header} bytes for {dimensions} dimensions, but the file "
            f"holds {len(data)}; obtain it again."
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    expected = header + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        wrong = "is truncated" if len(data) < expected else "is too long"
        raise ValueError(
            f"read_idx: {path} {wrong}: its header says shape {shape} of {dtype.newbyteorder('=')}, {expected} bytes "
            f"in all, but it holds {len(data)}; obtain it again."
        )
    values = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
