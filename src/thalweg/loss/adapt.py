"""What else may be given as a loss: torch's modules and functions, and any callable."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn

from thalweg.loss.activation import Activation
from thalweg.loss.binary_cross_entropy import BinaryCrossEntropy
from thalweg.loss.cross_entropy import CrossEntropy
from thalweg.loss.custom import Custom
from thalweg.loss.huber import Huber
from thalweg.loss.loss import Loss
from thalweg.loss.mae import MAE
from thalweg.loss.mse import MSE
from thalweg.loss.nll import NLL
from thalweg.loss.torch_module import FORMS, TorchLoss
from thalweg.loss.total import Total

__all__ = ["adapt"]

# torch's functions are its modules with default options.
_FUNCTIONS: dict[Callable[..., Any], type[nn.Module]] = {
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.poisson_nll_loss: nn.PoissonNLLLoss,
    F.kl_div: nn.KLDivLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.hinge_embedding_loss: nn.HingeEmbeddingLoss,
    F.soft_margin_loss: nn.SoftMarginLoss,
    F.multilabel_soft_margin_loss: nn.MultiLabelSoftMarginLoss,
    F.multilabel_margin_loss: nn.MultiLabelMarginLoss,
    F.multi_margin_loss: nn.MultiMarginLoss,
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
}


def adapt(obj: Any, *, weight: Any = None, activation: Activation | None = None) -> Loss:
    r"""Return *obj* as a ``Loss``.

    ==============================================  =============================================================
    obj                                             becomes
    ==============================================  =============================================================
    a ``Loss``                                      itself
    ``nn.CrossEntropyLoss``, ``nn.NLLLoss``,        ``CrossEntropy``, ``NLL``, ``MSE``, ``MAE``, ``Huber``,
    ``nn.MSELoss``, ``nn.L1Loss``,                  ``BinaryCrossEntropy`` with the same options
    ``nn.HuberLoss``, ``nn.BCEWithLogitsLoss``
    another of torch's (output, target) losses      ``TorchLoss``, the same value
    any of these with ``reduction="sum"``           ``Total`` of the loss: weight 1
    ``F.cross_entropy`` and its kind, also as       the module of that name
    ``functools.partial`` with keywords
    any other callable                              ``Custom(obj, weight, activation)``
    ==============================================  =============================================================

    Args:
        obj: What the user gave.
        weight: For a callable: what its value is a mean over (see ``Custom``).
        activation: How outputs become predictions; None: as the loss itself says.

    Raises:
        TypeError: not callable, a class instead of an instance, or a torch loss of more than (output, target).
        ValueError: options that do not go with *obj*; a module with parameters.

    >>> adapt(nn.CrossEntropyLoss(label_smoothing=0.1))
    CrossEntropy(ignore_index=-100, class_weight=None, label_smoothing=0.1)
    >>> adapt(F.mse_loss)
    MSE()
    """
    if isinstance(obj, type):
        raise TypeError(f"loss: got the class {obj.__name__}, and a loss is an instance; pass {obj.__name__}().")
    module = _module_of(obj)
    known = isinstance(obj, Loss) or type(module) in FORMS or type(module) in (nn.CrossEntropyLoss, nn.NLLLoss)
    if known and weight is not None:
        raise ValueError(
            f"loss: weight={weight!r} was given for {type(obj).__name__}, which knows its own weight; leave it out."
        )
    if isinstance(obj, Total) and activation is not None:
        return Total(adapt(obj.loss, activation=activation))
    if isinstance(obj, Loss):
        return obj if activation is None else dataclasses.replace(obj, activation=activation)  # type: ignore[type-var]
    if known:
        return _from_module(module, activation)
    if type(module).__module__ == "torch.nn.modules.loss" and not any(True for _ in module.parameters()):
        name = type(module).__name__
        raise TypeError(
            f"loss: {name} takes more than (output, target), so the loop cannot call it; wrap it in a function: "
            f"Custom(lambda output, target: ...), where output may be the tuple that the model returns."
        )
    if not callable(obj):
        raise TypeError(
            f"loss: got {type(obj).__name__}, which is neither a loss, a torch loss module, nor a callable; pass one "
            "of these or a name, e.g. 'cross_entropy'."
        )
    return Custom(obj, weight=weight, activation="none" if activation is None else activation)


def _module_of(obj: Any) -> Any:
    """Return the module that a function of ``torch.nn.functional`` stands for, else *obj*."""
    function, options = obj, {}
    if isinstance(obj, functools.partial) and not obj.args:
        function, options = obj.func, obj.keywords
    if isinstance(obj, nn.Module) or not callable(function) or getattr(function, "__hash__", None) is None:
        return obj
    kind = _FUNCTIONS.get(function)
    if kind is None:
        return obj
    try:
        return kind(**options)
    except TypeError:
        raise ValueError(
            f"loss: {function.__name__} with {', '.join(options)} has no module of the same options; wrap it in a "
            "function that returns one loss per row (reduction='none')."
        ) from None


def _from_module(module: nn.Module, activation: Activation | None) -> Loss:
    if module.reduction == "sum":
        dividing = copy.deepcopy(module)
        dividing.reduction = "mean"  # type: ignore[assignment]  # a plain attribute of every torch loss
        return Total(_from_module(dividing, activation))
    options: dict[str, Any] = {} if activation is None else {"activation": activation}
    if isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
        options |= {"ignore_index": module.ignore_index, "class_weight": module.weight}
        if isinstance(module, nn.NLLLoss):
            return NLL(**options)
        return CrossEntropy(label_smoothing=module.label_smoothing, **options)
    if isinstance(module, nn.MSELoss):
        return MSE(**options)
    if isinstance(module, nn.L1Loss):
        return MAE(**options)
    if isinstance(module, nn.HuberLoss):
        return Huber(delta=module.delta, **options)
    if isinstance(module, nn.BCEWithLogitsLoss) and module.weight is None and module.pos_weight is None:
        return BinaryCrossEntropy(**options)
    return TorchLoss(module, **options)
