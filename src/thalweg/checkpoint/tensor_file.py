"""Tensors in one safetensors file, written tensor by tensor and hashed on the way."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from . import whole

__all__ = ["write_hashed", "write_tensors"]

# The format's names of dtypes (huggingface.co/docs/safetensors, "Format").
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
    """Write *tensors* as a safetensors file, fsync it, and return (bytes, SHA-256 of the file).

    Nothing but one tensor at a time is copied, and every byte passes through Python, so that the sum is of what was
    meant to be written rather than of what a disk gives back. Tensors that share memory are stored apart.

    Args:
        path: a new file.
        tensors: by name, on any device.

    Raises:
        TypeError: a dtype that the format has no name for.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise TypeError(
                f"checkpoint: {name} is of {tensor.dtype}, which safetensors files do not hold; store it as another "
                "dtype (a complex128 tensor as torch.view_as_real of it)."
            )
    # Widest elements first, so that each tensor begins at a multiple of its element's size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return write_hashed(path, [len(text).to_bytes(8, "little"), text], (tensors[name] for name in names))


def write_hashed(path: Path, head: list[bytes], tensors: Iterable[Tensor] = ()) -> tuple[int, str]:
    """Write byte strings and then tensors' bytes, fsync, and return (bytes, SHA-256)."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as handle:
        for data in head:
            whole.put(handle, data)
            digest.update(data)
            size += len(data)
        for tensor in tensors:
            part = _bytes(tensor)
            whole.put(handle, part)
            digest.update(part)
            size += part.nbytes
        whole.sync_file(handle)
    return size, digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    """Return the elements as little-endian bytes in row-major order."""
    assert sys.byteorder == "little", "safetensors files are little-endian"
    flat = tensor.detach().cpu().contiguous().resolve_conj().resolve_neg().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
