"""Losses and penalties by name, and as plain data.

A new loss is a file beside this one and a line in ``NAMES``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from thalweg.errors import unknown_name
from thalweg.loss.adapt import adapt
from thalweg.loss.binary_cross_entropy import BinaryCrossEntropy
from thalweg.loss.cross_entropy import CrossEntropy
from thalweg.loss.custom import Custom
from thalweg.loss.distillation import Distillation
from thalweg.loss.focal import Focal
from thalweg.loss.huber import Huber
from thalweg.loss.loss import Loss
from thalweg.loss.mae import MAE
from thalweg.loss.mse import MSE
from thalweg.loss.nll import NLL
from thalweg.loss.penalty import L1, L2, Penalty
from thalweg.loss.token_cross_entropy import TokenCrossEntropy
from thalweg.loss.torch_module import TorchLoss
from thalweg.loss.total import Total

__all__ = ["ALIASES", "NAMES", "PENALTIES", "from_dict", "make", "make_penalty", "to_dict"]

NAMES: dict[str, type[Loss]] = {
    "mse": MSE,
    "mae": MAE,
    "huber": Huber,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "nll": NLL,
    "token_cross_entropy": TokenCrossEntropy,
    "focal": Focal,
    "distillation": Distillation,
}

# What torch, Keras and others call them.
ALIASES: dict[str, str] = {
    "l1": "mae",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "ce": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "bce": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
}

PENALTIES: dict[str, type[Penalty]] = {"l1": L1, "l2": L2}


def make(obj: Any, /, **options: Any) -> Loss:
    """Return a loss by its name, or *obj* adapted (see ``adapt``).

    Args:
        obj: A name in ``NAMES`` or ``ALIASES``; ``"torch.nn:SmoothL1Loss"``; ``"package.module:name"`` of a function,
            a module or a ``Loss`` class; or an object.
        options: The loss's fields; ``reduction="sum"`` for torch's undivided sum. For a function or an object:
            ``weight`` and ``activation``.

    Raises:
        ValueError: an unknown name or option (with did-you-mean), a module that cannot be imported.

    >>> make("cross_entropy", label_smoothing=0.1).label_smoothing
    0.1
    >>> make("cross_entropi")
    Traceback (most recent call last):
    ...
    ValueError: loss: unknown loss 'cross_entropi'. Did you mean 'cross_entropy'? Known: binary_cross_entropy, \
cross_entropy, distillation, focal, huber, mae, mse, nll, token_cross_entropy.
    """
    if not isinstance(obj, str):
        _check_options("loss", options, ("weight", "activation"))
        return adapt(obj, **options)
    if ":" not in obj:
        kind = NAMES.get(ALIASES.get(obj, obj))
        if kind is None:
            error = unknown_name("loss", "loss", obj, [*NAMES, *ALIASES])
            raise ValueError(f"{str(error).split(' Known: ')[0]} Known: {', '.join(sorted(NAMES))}.")
        return _of_kind(kind, obj, options)
    found = _imported("loss", obj)
    if isinstance(found, type) and issubclass(found, Loss):
        return _of_kind(found, obj, options)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return adapt(_built(found, obj, options))
    _check_options(f"loss {obj!r}", options, ("weight", "activation"))
    return adapt(found, **{key: _resolved(value) for key, value in options.items()})


def _of_kind(kind: type[Loss], name: str, options: dict[str, Any]) -> Loss:
    """Return a loss class with its options read from plain data."""
    reduction = options.pop("reduction", "mean")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"loss {name!r}: reduction={reduction!r} must be 'mean' or 'sum'; leave it out for 'mean'.")
    _check_options(f"loss {name!r}", options, (*_fields(kind), "reduction"))
    loss = kind(**{key: _read(key, value) for key, value in options.items()})
    return Total(loss) if reduction == "sum" else loss


def make_penalty(obj: Any, /, **options: Any) -> Penalty:
    """Return a penalty by its name, or *obj* where it is one.

    Raises:
        ValueError: an unknown name or option.
        TypeError: an object that is not a ``Penalty``.

    >>> make_penalty("l2", wd=1e-5)
    L2(wd=1e-05)
    """
    if isinstance(obj, Penalty):
        _check_options("penalty", options, ())
        return obj
    if not isinstance(obj, str):
        raise TypeError(
            f"penalty: got {type(obj).__name__}, which is not a Penalty; pass one, e.g. L2(1e-5), or a name."
        )
    kind = PENALTIES.get(obj)
    if kind is None:
        raise unknown_name("penalty", "penalty", obj, PENALTIES)
    _check_options(f"penalty {obj!r}", options, _fields(kind))
    missing = [field for field in _fields(kind) if field not in options]
    if missing:
        raise ValueError(f"penalty {obj!r}: {', '.join(missing)} is missing; say how strong it is, e.g. 1e-5.")
    return kind(**options)


def to_dict(obj: Loss | Penalty) -> dict[str, Any]:
    """Return *obj* as plain data that TOML and JSON can hold.

    These are its name and the options that differ from their defaults; None is
    written "none", because TOML has no null.

    Raises:
        ValueError: a function that cannot be imported by name (a lambda, one inside another, one of ``__main__``).

    >>> to_dict(make("cross_entropy", label_smoothing=0.1, class_weight=[1, 2]))
    {'name': 'cross_entropy', 'class_weight': [1.0, 2.0], 'label_smoothing': 0.1}
    >>> to_dict(make(nn.SmoothL1Loss(beta=0.5, reduction="sum")))
    {'name': 'torch.nn:SmoothL1Loss', 'beta': 0.5, 'reduction': 'sum'}
    """
    if isinstance(obj, Total):
        return {**to_dict(obj.loss), "reduction": "sum"}
    if isinstance(obj, Custom):
        return {"name": _path(obj.fn), **_options(obj, skip=("fn",))}
    if isinstance(obj, TorchLoss):
        return {"name": f"torch.nn:{type(obj.module).__name__}", **_module_options(obj)}
    for name, kind in (*NAMES.items(), *PENALTIES.items()):
        if type(obj) is kind:
            return {"name": name, **_options(obj)}
    return {"name": _path(type(obj)), **_options(obj)}


def from_dict(data: Mapping[str, Any]) -> Loss:
    """Return the loss that ``to_dict`` wrote; the inverse of ``to_dict``.

    Raises:
        ValueError: no name, an unknown name or option.

    >>> from_dict({"name": "huber", "delta": 2.0})
    Huber(delta=2.0)
    """
    options = dict(data)
    if "name" not in options:
        raise ValueError(f"loss: {dict(data)!r} has no name; add one, e.g. name = 'cross_entropy'.")
    return make(options.pop("name"), **options)


def _fields(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]


def _check_options(where: str, options: Mapping[str, Any], known: tuple[str, ...] | list[str]) -> None:
    for key in options:
        if key not in known:
            raise unknown_name(where, "option", key, known)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None:
        return "none"
    return _path(value) if callable(value) else value


def _options(obj: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    options = {}
    for field in dataclasses.fields(obj):
        value = getattr(obj, field.name)
        if field.init and field.name not in skip and value != field.default:
            options[field.name] = _plain(value)
    return options


def _module_options(obj: TorchLoss) -> dict[str, Any]:
    """Return the arguments of torch's module that differ from their defaults, read back from its attributes."""
    options = {}
    for name, parameter in inspect.signature(type(obj.module)).parameters.items():
        value = getattr(obj.module, name, parameter.default)
        if value is not parameter.default and (isinstance(value, Tensor) or value != parameter.default):
            options[name] = _plain(value)
    if obj.activation != TorchLoss(obj.module).activation:
        options["activation"] = _plain(obj.activation)
    return options


def _path(obj: Callable[..., Any]) -> str:
    """Return ``"package.module:name"`` for what can be imported by it."""
    module = getattr(obj, "__module__", None)
    for name in (getattr(obj, "__qualname__", ""), getattr(obj, "__name__", "")):
        if not module or module == "__main__" or not name or "<" in name:
            continue
        try:
            found = _imported("loss", f"{module}:{name}")
        except ValueError:
            continue
        if found is obj:
            return f"{module}:{name}"
    raise ValueError(
        f"loss: {obj!r} cannot be written down, because it cannot be imported by a name; define it with def or class "
        f"in a module of its own."
    )


def _imported(where: str, path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{where}: {path!r} cannot be imported ({error}); write it as 'package.module:name'."
        ) from None
    return found


def _read(key: str, value: Any) -> Any:
    """Return an option of plain data as the loss takes it: TOML has no null, so None is written "none"."""
    if key == "activation":
        return _resolved(value)
    return None if value == "none" else value


def _resolved(value: Any) -> Any:
    return _imported("loss", value) if isinstance(value, str) and ":" in value else value


def _built(kind: type[nn.Module], path: str, options: dict[str, Any]) -> Any:
    known = [name for name in inspect.signature(kind).parameters if name not in ("size_average", "reduce")]
    activation = _resolved(options.pop("activation", None))
    _check_options(f"loss {path!r}", options, [*known, "activation"])
    tensors = {"weight", "pos_weight"}
    module = kind(**{key: Tensor(value) if key in tensors else value for key, value in options.items()})
    return module if activation is None else adapt(module, activation=activation)
