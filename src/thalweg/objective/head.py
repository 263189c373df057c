r"""The last linear layer of a model, left out of the forward pass: the loss takes what goes into it.

With hidden states :math:`h` and a head :math:`W` of a large vocabulary the logits :math:`h W^\top` are the largest
tensor of a training step, and the loss needs them only a few rows at a time. A :class:`Head` therefore runs the model
with that layer returning a placeholder, and hands the loss a ``Projected``. Nothing about the model is changed: the
layer's ``forward`` stands aside for the length of a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.errors import unknown_name
from thalweg.loss import Projected

from .logits import logits_of

__all__ = ["Head", "find_head"]

Call = Callable[[], Any]

_LARGE = 1e4  # an argument at which every cap in use has long been reached


class HeadDiffers(ValueError):
    """The model does something with its logits, or calls its head, in a way that cannot be left to the loss."""


@dataclass(frozen=True)
class Head:
    r"""A model's head, and what the model does with its logits.

    .. math:: o = c \tanh(s (h W^\top + b) / c) + d

    Args:
        layer: the linear layer.
        name: its path in the model.
        scale: :math:`s`.
        softcap: :math:`c`, or None.
        adds: whether the model adds a vector :math:`d` of the vocabulary's size.

    >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10))
    >>> output = Head(model[1], "1").project(lambda: model(torch.tensor([[1, 2, 3]])))
    >>> output.hidden.shape, output.shape
    (torch.Size([1, 3, 4]), torch.Size([1, 3, 10]))
    """

    layer: nn.Linear
    name: str
    scale: float = 1.0
    softcap: float | None = None
    adds: bool = False

    def project(self, call: Call) -> Projected:
        """Return the model's output without its last layer.

        Args:
            call: runs the model, in any form (also functional: weight and bias are read while it runs).

        Raises:
            HeadDiffers: the layer was not called exactly once.
        """
        seen: list[tuple[Tensor, Tensor, Tensor | None]] = []

        def stand_in(hidden: Tensor) -> Tensor:
            seen.append((hidden, self.layer.weight, self.layer.bias))
            return hidden.new_zeros((1,) * hidden.dim())

        with replaced(self.layer, stand_in):
            rest = logits_of(call())
        if len(seen) != 1:
            raise HeadDiffers(f"its head {self.name!r} was called {len(seen)} times in one forward pass")
        hidden, weight, bias = seen[0]
        if bias is not None and self.scale != 1.0:
            bias = bias * self.scale
        if self.adds:
            bias = rest.reshape(-1) if bias is None else bias + rest.reshape(-1)
        return Projected(hidden, weight, bias, self.scale, self.softcap)


@contextmanager
def replaced(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let *forward* stand in for the layer's own."""
    own = vars(layer).get("forward")
    layer.forward = forward
    try:
        yield
    finally:
        if own is None:
            del layer.forward
        else:
            layer.forward = own


def find_head(model: nn.Module, call: Call, logits: Tensor, name: str | None = None) -> tuple[Head | None, str]:
    """Return the model's head, or None, and why, in words.

    The model's own word is taken first (``get_output_embeddings()``), then its structure: the linear layer whose output
    has the logits' shape and that is called last. What the model does with the logits afterwards is seen by letting the
    layer return 0, 1 and a large number: a factor and a cap are taken over. In the end the logits that the loss will
    reckon with are compared with the model's own.

    Args:
        model: in evaluation mode.
        call: runs it on example rows, twice here.
        logits: what it returned for them, **(…, V)**.
        name: the path of the layer that is the head; None looks for it.

    Raises:
        ValueError: *name* is no layer of the model.

    >>> _ = torch.manual_seed(0)
    >>> model, tokens = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10)), torch.tensor([[1, 2, 3]])
    >>> head, why = find_head(model, lambda: model(tokens), model(tokens))
    >>> head.name, why
    ('1', 'the loss takes the weight of 1, and the (…, 10) logits are not made')
    """
    found = _named(model, name) if name is not None else _own(model) or _last(model, call, logits)
    who = type(model).__name__
    if found is None:
        return None, f"{who} has no linear layer at its end that could be left to the loss"
    path, layer = found
    if type(layer).forward is not nn.Linear.forward or not isinstance(layer, nn.Linear):
        return None, f"the head {path!r} of {who} is a {type(layer).__name__}, not a plain linear layer"
    if not isinstance(logits, Tensor) or layer.out_features != logits.shape[-1]:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        return None, f"the head {path!r} has {layer.out_features} outputs, and {who} returns {shape}"
    try:
        head = _probed(layer, path, call)
        _compare(head.project(call), logits)
    except HeadDiffers as differs:
        return None, f"{who}: {differs}"
    except (RuntimeError, TypeError, IndexError, ValueError, AttributeError) as error:
        said = (str(error).strip().splitlines() or [""])[0]
        return None, f"{who} needs its logits for more than to return them ({type(error).__name__}: {said})"
    changes = [f"times {head.scale:g}"] if head.scale != 1.0 else []
    changes += [f"capped at {head.softcap:g}"] if head.softcap is not None else []
    also = f" ({', '.join(changes)})" if changes else ""
    return head, f"the loss takes the weight of {path}{also}, and the (…, {layer.out_features}) logits are not made"


def _named(model: nn.Module, name: str) -> tuple[str, nn.Module]:
    modules = dict(model.named_modules())
    if name not in modules:
        linear = [path for path, module in modules.items() if isinstance(module, nn.Linear)]
        raise unknown_name("Learner: head", f"layer of {type(model).__name__}", name, linear)
    return name, modules[name]


def _own(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Return the head that the model names itself."""
    getter = getattr(model, "get_output_embeddings", None)
    layer = getter() if callable(getter) else None
    if not isinstance(layer, nn.Module):
        return None
    return next(((path, module) for path, module in model.named_modules() if module is layer), None)


def _last(model: nn.Module, call: Call, logits: Tensor) -> tuple[str, nn.Module] | None:
    """Return the linear layer that is called last among those whose output has the logits' shape."""
    called: list[tuple[str, nn.Module]] = []
    paths: dict[nn.Module, str] = {
        module: path for path, module in model.named_modules() if isinstance(module, nn.Linear)
    }

    def note(module: nn.Module, args: Any, output: Any) -> None:
        # Inside torch's fast path for padded sequences tensors are nested and have no shape; a head is outside of it.
        if isinstance(output, Tensor) and not output.is_nested and output.shape == logits.shape:
            called.append((paths[module], module))

    handles = [module.register_forward_hook(note) for module in paths]
    try:
        with torch.no_grad():
            call()
    finally:
        for handle in handles:
            handle.remove()
    return called[-1] if called else None


def _probed(layer: nn.Linear, path: str, call: Call) -> Head:
    """Return the head with what the model does to its logits, seen at 0, 1 and a large number.

    Raises:
        HeadDiffers: it is something else than a factor, a cap, or a vector that is added.
    """

    def stand_in(hidden: Tensor) -> Tensor:
        points = torch.tensor([0.0, 1.0, _LARGE], dtype=hidden.dtype, device=hidden.device)
        return points.view(3, *(1,) * (hidden.dim() - 1))

    with replaced(layer, stand_in), torch.enable_grad():
        answers = logits_of(call())
    if not isinstance(answers, Tensor) or answers.numel() not in (3, 3 * layer.out_features):
        raise HeadDiffers("it does something else with its logits than to scale or to cap them")
    if answers.requires_grad:
        raise HeadDiffers("there are parameters after its head")
    zero, one, large = answers.double().reshape(3, -1)
    step, top = float((one - zero)[0]), float((large - zero)[0])
    adds = answers.numel() > 3
    if not adds and float(zero[0]) != 0:
        raise HeadDiffers(f"it adds {float(zero[0]):g} to its logits")
    if math.isclose(top, _LARGE * step, rel_tol=1e-2):
        # a vector is subtracted again above, which costs digits of the factor where there is none
        scale = 1.0 if math.isclose(step, 1.0, rel_tol=1e-5) else step
        return Head(layer, path, scale, None, adds)
    if adds or not 0 < abs(step) < abs(top):
        raise HeadDiffers("it does something else with its logits than to scale or to cap them")
    inner = top * math.atanh(step / top)
    return Head(layer, path, 1.0 if math.isclose(inner, 1.0, rel_tol=1e-2) else inner, top, False)


def _compare(projected: Projected, logits: Tensor) -> None:
    """Raise unless the logits that the loss will reckon with are the model's own.

    Raises:
        HeadDiffers: they are not.
    """
    with torch.no_grad():
        made, own = projected.logits().double(), logits.detach().double()
    if made.shape != own.shape:
        raise HeadDiffers(f"its logits have the shape {tuple(own.shape)}, and its head gives {tuple(made.shape)}")
    half = torch.bfloat16 in (projected.hidden.dtype, logits.dtype) or torch.float16 in (
        projected.hidden.dtype,
        logits.dtype,
    )
    size = float(own.abs().max()) or 1.0
    apart = float((made - own).abs().max()) / size
    if not apart <= (5e-2 if half else 1e-4):  # NaN is no agreement either
        raise HeadDiffers(f"its own logits differ from those of its head by {apart:.1e} of the largest")
