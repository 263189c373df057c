r"""torch's own loss modules, adapted exactly.

A module reduces to one number, which cannot be divided later; so two copies are kept, one with ``reduction="sum"``
and one with ``reduction="none"``, and the table below says what torch divides by.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from thalweg.loss.activation import Activation
from thalweg.loss.checks import (
    check_class_indices,
    check_finite_targets,
    check_floating_output,
    check_row_weight,
    check_same_shape,
    check_tensor_target,
    check_unit_interval,
)
from thalweg.loss.loss import Loss, Weight, full_precision
from thalweg.loss.notices import notice_sigmoid

__all__ = ["FORMS", "Form", "TorchLoss"]


class Form(NamedTuple):
    """What a torch loss divides by under ``reduction="mean"``, and what it takes."""

    per: Literal["element", "row"]  # "row": the classes (dim 1) are already reduced
    activation: Activation = "none"
    alike: bool = True  # output and target have one shape
    floating: bool = True  # the target is converted to the output's dtype


FORMS: dict[type[nn.Module], Form] = {
    nn.MSELoss: Form("element"),
    nn.L1Loss: Form("element"),
    nn.SmoothL1Loss: Form("element"),
    nn.HuberLoss: Form("element"),
    nn.PoissonNLLLoss: Form("element", "exp"),
    nn.KLDivLoss: Form("element", "exp"),
    nn.BCELoss: Form("element"),
    nn.BCEWithLogitsLoss: Form("element", "sigmoid"),
    nn.HingeEmbeddingLoss: Form("element"),
    nn.SoftMarginLoss: Form("element"),
    nn.MultiLabelSoftMarginLoss: Form("row", "sigmoid"),
    nn.MultiLabelMarginLoss: Form("row", floating=False),
    nn.MultiMarginLoss: Form("row", alike=False, floating=False),
}


@dataclass(frozen=True)
class TorchLoss(Loss):
    r"""One of torch's two-argument loss modules: ``sum / weight`` is the module's own value.

    ============================  =================================================================================
    module.reduction              weight
    ============================  =================================================================================
    ``"mean"`` or ``"none"``      what torch divides by: the number of elements, or of rows where a row gives one
    ``"batchmean"``               B (``KLDivLoss``)
    ============================  =================================================================================

    ``adapt`` gives a module with ``reduction="sum"`` as ``Total``.

    Args:
        module: An instance of one of the classes in ``FORMS``. It is copied, not changed.
        activation: How outputs become predictions; None: as the table ``FORMS`` says.

    Shapes: those of the module with a batch dimension, except that nothing is broadcast; (B, C) where a row gives one
    number.

    Raises:
        TypeError: a module that is not in ``FORMS``.
        ValueError: from ``check``: shapes that differ, NaN in targets, for ``BCELoss`` numbers outside [0, 1].

    >>> loss = TorchLoss(nn.SmoothL1Loss(beta=0.5))
    >>> loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    (tensor(2.5000), 2)
    """

    module: nn.Module
    # None never stays: it is replaced below by what the table says
    activation: Activation = field(default=cast(Activation, None), kw_only=True, repr=False)
    _sum: nn.Module = field(init=False, repr=False, compare=False)
    _none: nn.Module = field(init=False, repr=False, compare=False)
    _form: Form = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        form = FORMS.get(type(self.module))
        if form is None or self.module.reduction == "sum":
            raise TypeError(
                f"TorchLoss: {self.module} is not one of torch's losses of (output, target) that divide; use "
                "loss.adapt, which also takes reduction='sum' and other callables."
            )
        given: Activation | None = self.activation
        if given is None:
            log_rate = not isinstance(self.module, nn.PoissonNLLLoss) or self.module.log_input
            object.__setattr__(self, "activation", form.activation if log_rate else "none")
        super().__post_init__()
        object.__setattr__(self, "_form", form)
        object.__setattr__(self, "_sum", _reducing(self.module, "sum"))
        object.__setattr__(self, "_none", _reducing(self.module, "none"))

    def __call__(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        if row_weight is not None:
            return self.weigh_rows(output, target, row_weight)
        output, target = self._ready(output, target)
        if self.module.reduction == "batchmean":
            return self._sum(output, target), output.shape[0]
        rows = self._form.per == "row"
        return self._sum(output, target), output.numel() // output.shape[1] if rows else output.numel()

    def per_row(self, output: Tensor, target: Tensor) -> tuple[Tensor, Weight]:
        output, target = self._ready(output, target)
        values = self._none(output, target)
        sums = values.flatten(1).sum(1) if values.dim() > 1 else values
        return sums, 1 if self.module.reduction == "batchmean" else math.prod(values.shape[1:])

    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        who = type(self.module).__name__
        check_floating_output(who, output)
        if self._form.per == "row" and output.dim() != 2:
            raise ValueError(
                f"{who}: output has shape {tuple(output.shape)} and must be (B, C), one score per class; flatten other "
                f"dimensions into rows."
            )
        check_tensor_target(who, target)
        if self._form.alike:
            check_same_shape(who, output, target)
        elif target.shape != output.shape[:1]:
            raise ValueError(
                f"{who}: output has shape {tuple(output.shape)} and target {tuple(target.shape)}, and class indices "
                f"are one per row, ({output.shape[0]},); pass the index, not one-hot."
            )
        check_row_weight(who, output.shape[0] if output.dim() else 1, row_weight)
        self._check_targets(target, output)
        if isinstance(self.module, nn.BCEWithLogitsLoss):
            notice_sigmoid(who, output)
        elif isinstance(self.module, nn.BCELoss):
            check_unit_interval(who, "output", output.detach(), "use BCEWithLogitsLoss for logits")
        elif isinstance(self.module, nn.KLDivLoss) and output.numel() and float(output.detach().max()) > 1e-3:
            warnings.warn(
                f"{who}: the output holds {float(output.detach().max()):g}, and a log-probability is at most 0; end "
                "the model in log_softmax.",
                UserWarning,
                stacklevel=2,
            )

    def specialise(self, output: Tensor, target: Tensor, targets: Tensor | None = None) -> Loss:
        if targets is not None:
            self._check_targets(targets, output)
        if not any(True for _ in self.module.buffers()):
            return self
        ready = full_precision(output)
        moved = copy.deepcopy(self.module).to(device=ready.device, dtype=ready.dtype)
        return TorchLoss(moved, activation=self.activation)

    def _check_targets(self, target: Tensor, output: Tensor) -> None:
        who = type(self.module).__name__
        # with log_target a target may be log 0 = -inf
        if not (isinstance(self.module, nn.KLDivLoss) and self.module.log_target):
            check_finite_targets(who, target)
        if isinstance(self.module, nn.BCELoss | nn.BCEWithLogitsLoss | nn.MultiLabelSoftMarginLoss):
            check_unit_interval(who, "target", target, "labels are 0 or 1")
        if isinstance(self.module, nn.MultiMarginLoss):
            check_class_indices(who, target, output.shape[1])

    def _ready(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self._form.alike and output.shape != target.shape:
            check_same_shape(type(self.module).__name__, output, target)
        output = full_precision(output)
        if self._form.floating:
            return output, target.to(output.dtype)
        return output, target if target.is_floating_point() else target.to(torch.int64)


def _reducing(module: nn.Module, reduction: str) -> nn.Module:
    module = copy.deepcopy(module)
    module.reduction = reduction  # type: ignore[assignment]  # a plain attribute of every torch loss
    return module
