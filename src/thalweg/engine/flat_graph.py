"""A function of flat tensors, traced and compiled as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .scalars import kept_scalars

__all__ = ["CannotCompile", "compiled_graph"]


class CannotCompile(ValueError):
    """The whole step cannot be compiled for this model, rule or machine; the message says why."""


def compiled_graph(function: Callable[..., Any], example: list[Any], what: str) -> Callable[..., Any]:
    """Trace *function* on the tensors of *example* and hand the graph to the inductor.

    Args:
        function: of as many arguments as *example* has.
        example: what it is traced on; nothing is computed with them.
        what: is traced, for messages.

    Raises:
        CannotCompile: it cannot be traced, or there is no working compiler.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        with torch.no_grad(), kept_scalars():
            graph = make_fx(function, tracing_mode="fake")(*example)
    except Exception as error:  # whatever a model's own code raises while it is traced
        raise CannotCompile(f"{what} cannot be traced: {_line(error)}") from error
    try:
        with torch.no_grad():
            call: Callable[..., Any] = torch._inductor.compile(graph, example)
            return call
    except Exception as error:
        raise CannotCompile(f"the compiler failed: {_line(error)}") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
