"""What a model is called with, beyond what the batch holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["Inputs", "Parts", "takes"]


class Parts(Protocol):
    """A batch taken apart, as ``thalweg.data.split`` does it: what goes into the model, and what comes out of it."""

    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> Mapping[str, Any]: ...
    @property
    def target(self) -> Any: ...
    @property
    def row_weight(self) -> Tensor | None: ...


def takes(model: nn.Module, name: str) -> bool:
    """Return whether the model's ``forward`` names such an argument.

    >>> takes(nn.Linear(1, 1), "input"), takes(nn.Linear(1, 1), "labels")
    (True, False)
    """
    return name in inspect.signature(model.forward).parameters


class Inputs:
    """The call of a model on a batch: what the batch holds, and what follows from it.

    An encoder–decoder reads its own targets, one place late. Where it says how
    (``prepare_decoder_input_ids_from_labels``, Hugging Face's name) and the batch brings no ``decoder_input_ids``, they
    are made from the targets, so that the labels need not go into the model, which would compute a loss of its own. A
    cache of keys and values (``use_cache``) serves generation, and none is kept.

    Args:
        model: any module.

    >>> import torch, thalweg as tw
    >>> batch = tw.data.split((torch.ones(2, 3), torch.zeros(2)))
    >>> Inputs(nn.Linear(3, 1))(batch)[0][0].shape
    torch.Size([2, 3])
    """

    def __init__(self, model: nn.Module) -> None:
        plain = getattr(model, "_orig_mod", model)
        decoder = getattr(plain, "prepare_decoder_input_ids_from_labels", None)
        self._decoder: Callable[..., Tensor] | None = decoder if callable(decoder) else None
        self._keeps_cache = takes(plain, "use_cache")
        #: Whether a batch is called with just what it holds.
        self.is_plain = self._decoder is None and not self._keeps_cache

    def __call__(self, parts: Parts) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return (args, kwargs) of the model's call."""
        if self.is_plain:
            return parts.args, parts.kwargs
        kwargs = dict(parts.kwargs)
        given = {"decoder_input_ids", "decoder_inputs_embeds", "labels"} & kwargs.keys()
        if self._decoder is not None and not given and isinstance(parts.target, Tensor) and len(parts.args) < 2:
            kwargs["decoder_input_ids"] = self._decoder(labels=parts.target)
        if self._keeps_cache and "past_key_values" not in kwargs:
            kwargs.setdefault("use_cache", False)
        return parts.args, kwargs
