"""Nested state as tensors beside plain data, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["flatten", "unflatten"]


def flatten(tree: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Return (tensors by path, JSON-able rest) of nested dicts, lists, tuples, numbers, strings, tensors and arrays.

    Raises:
        TypeError: something that has no safe form on disk, with its path.

    >>> tensors, plain = flatten({"step": 3, "state": {0: {"m": torch.zeros(2)}}})
    >>> sorted(tensors), plain["step"]
    (['state/0/m'], 3)
    >>> unflatten(tensors, plain)["state"][0]["m"].tolist()
    [0.0, 0.0]
    """
    tensors: dict[str, Tensor] = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            tensors[path] = node.detach()
            return {"<tensor>": path}
        if isinstance(node, np.ndarray):
            tensors[path] = torch.from_numpy(np.ascontiguousarray(node))
            return {"<array>": path}
        if node is None or isinstance(node, (bool, str)):
            return node
        if isinstance(node, (int, np.integer)):
            return int(node)
        if isinstance(node, (float, np.floating)):
            return float(node)
        if isinstance(node, dict):
            plain_keys = all(isinstance(key, str) and not key.startswith("<") for key in node)
            if plain_keys:
                return {key: walk(value, _join(path, key)) for key, value in node.items()}
            return {"<dict>": [[walk(key, ""), walk(value, _join(path, str(key)))] for key, value in node.items()]}
        if isinstance(node, tuple):
            return {"<tuple>": [walk(value, _join(path, str(index))) for index, value in enumerate(node)]}
        if isinstance(node, list):
            return [walk(value, _join(path, str(index))) for index, value in enumerate(node)]
        raise TypeError(
            f"checkpoint: {path or 'the state'} is a {type(node).__name__}, which has no safe form on disk; "
            "keep numbers, strings, lists, dictionaries and tensors in a state."
        )

    return tensors, walk(tree, prefix)


def _join(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


def unflatten(tensors: dict[str, Tensor], plain: Any) -> Any:
    """Return the tree that :func:`flatten` took apart."""
    if isinstance(plain, list):
        return [unflatten(tensors, value) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        mark, content = next(iter(plain.items()))
        if mark in ("<tensor>", "<array>"):
            if content not in tensors:
                raise ValueError(
                    f"checkpoint: the tensor {content!r} is missing; the file is damaged, choose another one."
                )
            return tensors[content] if mark == "<tensor>" else tensors[content].numpy()
        if mark == "<tuple>":
            return tuple(unflatten(tensors, value) for value in content)
        if mark == "<dict>":
            return {unflatten(tensors, key): unflatten(tensors, value) for key, value in content}
    return {key: unflatten(tensors, value) for key, value in plain.items()}
