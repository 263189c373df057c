"""A classifier's last layer, found by structure and replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from thalweg.errors import check_number

__all__ = ["HEAD_NAMES", "Replaced", "last_layer", "replace_head"]

# What libraries call the module that ends in the logits, the most specific first: Hugging Face's `score` and
# `classifier`, torchvision's `fc`, `classifier` and `heads`, timm's `head`.
HEAD_NAMES = ("score", "classifier", "fc", "heads", "head", "last_linear", "logits", "output", "out")

# Layers beside the main one that give the same logits: GoogLeNet's and Inception's auxiliary classifiers, the
# distillation head of DeiT.
_BESIDE = ("aux", "dist")


@dataclass(frozen=True)
class Replaced:
    """What :func:`replace_head` did: a (path, old layer, new head) in words for every layer it replaced."""

    layers: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return "\n".join(f"{path}: {old} replaced by {new}" for path, old, new in self.layers)

    __repr__ = __str__

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the new heads are, e.g. ``("fc",)``."""
        return tuple(path for path, _, _ in self.layers)


def _is_layer(module: nn.Module) -> bool:
    """Whether the module is linear over channels: ``Linear``, or a 1×1 convolution (SqueezeNet ends in one)."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def _last_in(module: nn.Module, path: str) -> str | None:
    """Return the path of the last such layer in or at *module*, in the order of its parts."""
    found = [name for name, part in module.named_modules() if _is_layer(part)]
    return None if not found else ".".join(filter(None, (path, found[-1])))


def last_layer(model: nn.Module) -> str | None:
    """Return the path of the layer that makes the logits, or None where there is none.

    Looked for in this order: what ``get_classifier()`` returns (timm), a part with one of the names of
    ``HEAD_NAMES``, the last linear layer of all.

    >>> last_layer(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    '2'
    """
    classifier = getattr(model, "get_classifier", None)
    if callable(classifier):
        given = classifier()
        for path, part in model.named_modules():
            if part is given and isinstance(given, nn.Module):
                found = _last_in(part, path)
                if found is not None:
                    return found
    children = dict(model.named_children())
    for name in HEAD_NAMES:
        if name in children:
            found = _last_in(children[name], name)
            if found is not None:
                return found
    linear = [path for path, part in model.named_modules() if isinstance(part, nn.Linear)]
    return linear[-1] if linear else _last_in(model, "")


def replace_head(
    model: nn.Module, n_out: int, *, hidden: int | None = None, dropout: float = 0.0, bias: bool | None = None
) -> Replaced:
    r"""Put a new head in place of a classifier's last linear layer, in the model itself, and say what was replaced.

    .. math:: h \mapsto W h + b \qquad\text{or, with } \texttt{hidden}, \qquad h \mapsto W_2 \max(0, W_1 h + b_1) + b_2

    The layer is recognised by structure (:func:`last_layer`), so models of torchvision, timm and Hugging Face need no
    import of these. Layers beside it that give the same logits (auxiliary classifiers, a distillation head) are
    replaced as well. The new weights are torch's default initialisation, drawn from the global generator, on the old
    layer's device in its dtype. Everything else in front of the layer stays, also other linear layers of the same head
    (VGG's first two). A Hugging Face model's ``config.num_labels`` and ``num_labels`` are set.

    Replace the head before the model is given to a learner: an optimizer made before does not know the new parameters.

    Args:
        model: changed in place.
        n_out: outputs of the new head (classes), at least 1.
        hidden: width of a hidden layer with ReLU, or None for one linear layer.
        dropout: share of hidden units dropped in training, in [0, 1); needs *hidden*.
        bias: whether the last layer has one; None: as the old layer.

    Shapes:
        (…, in_features of the old layer) → (…, n_out).

    Raises:
        ValueError: the model has no linear layer, its weights are tied to others, or a number is out of range.

    Source: Yosinski et al., *How transferable are features in deep neural networks?*, NeurIPS 2014, for the habit.

    >>> import torch
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1000))
    >>> replace_head(model, 3)
    2: Linear(8 → 1000) replaced by Linear(8 → 3)
    >>> replace_head(model, 5, hidden=16)
    2: Linear(8 → 3) replaced by Linear(8 → 16), ReLU, Linear(16 → 5)
    >>> model(torch.zeros(2, 4)).shape
    torch.Size([2, 5])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"replace_head: model={model!r} is a {type(model).__name__}; pass a torch.nn.Module.")
    for name, value in (("n_out", n_out), ("hidden", hidden)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"replace_head: {name}={value!r} must be a whole number, got {type(value).__name__}.")
        if value is not None:
            check_number("replace_head", name, value, low=1)
    check_number("replace_head", "dropout", dropout, low=0.0, high=1.0, high_open=True)
    if dropout and hidden is None:
        raise ValueError(
            f"replace_head: dropout={dropout} acts on hidden units, and a linear head has none; give hidden=… too."
        )
    path = _previous_head(model) or last_layer(model)
    if not path:
        raise ValueError(
            f"replace_head: {type(model).__name__} has no linear layer inside that could be its head; it has "
            f"{', '.join(name for name, _ in model.named_children()) or 'no parts'}. Replace the layer by hand."
        )
    layers = []
    for place in [path, *_beside(model, path)]:
        old = model.get_submodule(place)
        _refuse_tied(model, place, old)
        new = _new_head(old, n_out, hidden, dropout, bias)
        model.set_submodule(place, new)
        layers.append((place, _words(old), _words(new)))
    _tell_config(model, n_out)
    return Replaced(tuple(layers))


class Head(nn.Sequential):
    """A head of two layers, put in by :func:`replace_head`; a name of its own, so that it can be replaced again."""


def _previous_head(model: nn.Module) -> str | None:
    """Return the path of a two-layer head put in earlier, which is replaced as a whole."""
    return next((path for path, part in model.named_modules() if isinstance(part, Head) and path), None)


def _ends(head: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the first and the last linear layer of a head."""
    layers = [part for part in head.modules() if _is_layer(part)]
    return layers[0], layers[-1]


def _widths(head: nn.Module) -> tuple[int, int]:
    first, last = _ends(head)
    inputs = first.in_features if isinstance(first, nn.Linear) else first.in_channels
    outputs = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    return int(inputs), int(outputs)  # type: ignore[arg-type]


def _beside(model: nn.Module, path: str) -> list[str]:
    """Return the paths of last layers of auxiliary heads with as many outputs as the one at *path*."""
    outputs = _widths(model.get_submodule(path))[1]
    found = []
    for name, child in model.named_children():
        if path.split(".")[0] == name or not any(word in name.lower() for word in _BESIDE):
            continue
        place = name if isinstance(child, Head) else _last_in(child, name)
        if place is not None and _widths(model.get_submodule(place))[1] == outputs:
            found.append(place)
    return found


def _refuse_tied(model: nn.Module, path: str, old: nn.Module) -> None:
    own = {id(param) for param in old.parameters()}
    for name, param in model.named_parameters(remove_duplicate=False):
        if id(param) in own and not name.startswith(f"{path}."):
            raise ValueError(
                f"replace_head: the weight of {path} is tied to {name}, so it is no head of its own (a language "
                "model's output layer); replace the layer by hand, or load the model with a classification head."
            )


def _new_head(old: nn.Module, n_out: int, hidden: int | None, dropout: float, bias: bool | None) -> nn.Module:
    inputs, _ = _widths(old)
    last = _ends(old)[1]
    with_bias = bias if bias is not None else getattr(last, "bias", None) is not None
    weight = next(old.parameters())
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}

    def layer(before: int, after: int, with_bias: bool) -> nn.Module:
        if isinstance(last, nn.Linear):
            return nn.Linear(before, after, bias=with_bias, **place)
        return nn.Conv2d(before, after, 1, bias=with_bias, **place)

    if hidden is None:
        return layer(inputs, n_out, with_bias)
    between = [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    head = Head(layer(inputs, hidden, True), *between, layer(hidden, n_out, with_bias))
    return head.train(old.training)


def _words(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):
        return ", ".join(_words(part) for part in module)
    if isinstance(module, nn.Linear):
        return f"Linear({module.in_features} → {module.out_features})"
    if isinstance(module, nn.Conv2d):
        return f"Conv2d({module.in_channels} → {module.out_channels}, 1×1)"
    return f"Dropout({module.p})" if isinstance(module, nn.Dropout) else type(module).__name__


def _tell_config(model: nn.Module, n_out: int) -> None:
    """Set the number of classes where a model keeps it beside the layer (Hugging Face, timm, torchvision)."""
    config = getattr(model, "config", None)
    if hasattr(config, "num_labels"):
        config.num_labels = n_out  # type: ignore[union-attr]
    for name in ("num_labels", "num_classes"):
        if isinstance(model.__dict__.get(name), int):
            setattr(model, name, n_out)
