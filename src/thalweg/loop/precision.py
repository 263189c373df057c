"""Number formats: autocast and loss scaling."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from thalweg.errors import unknown_name

__all__ = ["Precision"]

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """fp32, or autocast to bf16 or fp16 with parameters kept in their own dtype.

    fp16 needs loss scaling; whether a scaled step was finite decides if it counts as an update, so fp16 waits for the
    device once per step. bf16 and fp32 never wait.

    Args:
        name: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        device: where the model is.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in _DTYPES:
            raise unknown_name("Learner", "precision", name, _DTYPES)
        self.name = name
        self.dtype = _DTYPES[name]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None

    def context(self) -> AbstractContextManager[Any]:
        """Return the context that forward and loss run in."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)
