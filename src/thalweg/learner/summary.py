"""Layers, shapes, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.draw import html_table
from thalweg.loop import describe, eval_mode

__all__ = ["Summary", "summarise"]


@dataclass(frozen=True)
class Summary:
    """One row per layer: name, type, output shape, parameters, trainable ones.

    Attributes:
        rows: (name, type, output shape in words, parameters, trainable parameters).
        total: parameters of the model, tied ones counted once.
        trainable: those that get gradients.
    """

    rows: tuple[tuple[str, str, str, int, int], ...]
    total: int
    trainable: int

    def __str__(self) -> str:
        cells = [["layer", "type", "output", "parameters", "trainable"]]
        cells += [[a, b, c, f"{n:,}", f"{t:,}"] for a, b, c, n, t in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = []
        for row in cells:
            words = [f"{cell:<{w}}" for cell, w in zip(row[:3], widths[:3], strict=True)]
            numbers = [f"{cell:>{w}}" for cell, w in zip(row[3:], widths[3:], strict=True)]
            lines.append("  ".join([*words, *numbers]))
        lines.append(f"{self.total:,} parameters, {self.trainable:,} trainable")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ["layer", "type", "output", "parameters", "trainable"]
        caption = f"{self.total:,} parameters, {self.trainable:,} trainable"
        return html_table(self.rows, columns, caption=caption)


@torch.no_grad()
def summarise(model: nn.Module, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Summary:
    """Return the summary; with example inputs the model is run once, in evaluation mode, to learn output shapes."""
    shapes: dict[str, str] = {}
    order: list[str] = []
    handles = []
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if name not in shapes:
                order.append(name)
            shapes[name] = describe(output) if not isinstance(output, Tensor) else str(tuple(output.shape))

        return hook

    if args or kwargs:
        for name, module in leaves:
            handles.append(module.register_forward_hook(note(name)))
        try:
            with eval_mode(model):
                model(*args, **(kwargs or {}))
        finally:
            for handle in handles:
                handle.remove()
    modules = dict(leaves)
    names = order + [name for name, _ in leaves if name not in shapes]
    rows = []
    for name in names:
        module = modules[name]
        own = list(module.parameters(recurse=False))
        rows.append(
            (
                name or type(model).__name__,
                type(module).__name__,
                shapes.get(name, "?"),
                sum(p.numel() for p in own),
                sum(p.numel() for p in own if p.requires_grad),
            )
        )
    params = list(model.parameters())
    return Summary(tuple(rows), sum(p.numel() for p in params), sum(p.numel() for p in params if p.requires_grad))
