"""Points of parameter space: what a user may hand over as one, and what is checked about it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import did_you_mean
from ..loop import read_checkpoint

__all__ = ["Weights", "flat", "unflat", "weights_of"]

Weights = dict[str, Tensor]
"""One point (or direction) of parameter space: every tensor by its name in the model."""


def weights_of(who: str, what: str, given: Any, like: Mapping[str, Tensor]) -> tuple[Weights, Weights]:
    """Return (parameters, buffers) of *given*, checked against the model's own.

    Args:
        who: the function, for messages.
        what: the argument's name, for messages.
        given: a module, a learner, a mapping of tensors by name (a ``state_dict`` is one), a flat tensor of all
            parameters, or the path of a run directory, a checkpoint or a ``.safetensors`` file.
        like: the model's parameters by name; shapes, dtypes and device are theirs.

    Returns:
        Copies; buffers are empty where *given* holds none.

    Raises:
        TypeError: *given* is nothing of that kind.
        ValueError: names or shapes are not those of the model, or a file cannot be read.
    """
    if isinstance(given, (str, Path)):
        given = _read(who, what, Path(given))
    if isinstance(given, Tensor):
        return unflat(who, what, given, like), {}
    buffers: Mapping[str, Any] = {}
    if isinstance(given, nn.Module) or isinstance(getattr(given, "module", None), nn.Module):
        module = given if isinstance(given, nn.Module) else given.module
        with getattr(given, "evaluating", nullcontext)():
            params = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
            buffers = {name: tensor.detach().clone() for name, tensor in module.named_buffers()}
    elif isinstance(given, Mapping):
        params = {name: value for name, value in given.items() if name in like}
        buffers = {name: value for name, value in given.items() if name not in like}
        _check_names(who, what, params, buffers, like)
    else:
        raise TypeError(
            f"{who}: {what} is a {type(given).__name__}, which is no point of parameter space; pass a module, a "
            "learner, a dict of tensors by name, a flat tensor, or the path of a run or a checkpoint."
        )
    return {name: _fit(who, what, name, params.get(name), tensor) for name, tensor in like.items()}, dict(buffers)


def _read(who: str, what: str, path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{who}: {what}={str(path)!r} cannot be read ({error}); pass a .safetensors file of weights."
            ) from error
    model: Mapping[str, Tensor] = read_checkpoint(path)["model"]
    return model


def _check_names(
    who: str, what: str, params: Mapping[str, Any], others: Mapping[str, Any], like: Mapping[str, Tensor]
) -> None:
    """Raise unless *params* has every name of *like*, naming the first missing one and its likely misspelling."""
    missing = [name for name in like if name not in params]
    if missing:
        hint = did_you_mean(missing[0], others).replace("Did you mean", "It has") if others else ""
        raise ValueError(
            f"{who}: {what} has no {missing[0]!r}, one of the model's {len(like)} parameters ({len(missing)} are "
            f"missing).{hint} Pass weights of the same architecture."
        )


def _fit(who: str, what: str, name: str, value: Any, like: Tensor) -> Tensor:
    if value is None:
        raise ValueError(f"{who}: {what} has no {name!r}, which the model has; pass weights of the same architecture.")
    tensor = torch.as_tensor(value)
    if tensor.shape != like.shape:
        raise ValueError(
            f"{who}: {what} holds {name!r} with the shape {tuple(tensor.shape)}, the model's is {tuple(like.shape)}; "
            "pass weights of the same architecture."
        )
    return tensor.detach().to(device=like.device, dtype=like.dtype, copy=True)


def flat(weights: Mapping[str, Tensor]) -> Tensor:
    """Return all values as one vector, shape **(n,)**, in the order of the names.

    >>> flat({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3.0)})
    tensor([1., 2., 3.])
    """
    return torch.cat([tensor.reshape(-1) for tensor in weights.values()])


def unflat(who: str, what: str, vector: Tensor, like: Mapping[str, Tensor]) -> Weights:
    """Return the vector **(n,)** as tensors named and shaped like *like*.

    Raises:
        ValueError: it has another length than *like* has values.
    """
    size = sum(tensor.numel() for tensor in like.values())
    if vector.dim() != 1 or vector.numel() != size:
        raise ValueError(
            f"{who}: {what} has the shape {tuple(vector.shape)}, but the model has {size} parameters; pass a vector of "
            f"shape ({size},), or a dict of tensors by name."
        )
    parts = torch.split(vector.detach(), [tensor.numel() for tensor in like.values()])
    return {
        name: part.reshape(tensor.shape).to(device=tensor.device, dtype=tensor.dtype, copy=True)
        for (name, tensor), part in zip(like.items(), parts, strict=True)
    }
