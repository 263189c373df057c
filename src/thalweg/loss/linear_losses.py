r"""Token losses as functions of hidden states and a head; the logits are never made as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from thalweg.errors import unknown_name
from thalweg.loss.distillation import Distillation
from thalweg.loss.focal import Focal
from thalweg.loss.projected import Projected
from thalweg.loss.token_cross_entropy import TokenCrossEntropy
from thalweg.loss.token_loss import TokenLoss, check_head

__all__ = ["linear_cross_entropy", "linear_distillation", "linear_focal"]

Reduction = Literal["mean", "sum", "none"]
ClassWeight = Sequence[float] | Tensor | None


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    class_weight: ClassWeight = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    shift: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Cross entropy of ``hidden @ weight.T + bias`` and the target, in nats, without those logits in memory.

    .. math:: L = \frac{\sum_i \ell(W h_i + b, y_i)}{\sum_i w_{y_i}} \qquad \ell \text{ as in } \text{TokenCrossEntropy}

    Loss and gradients are made together, a chunk of logits at a time, in three matrix products. The gradients are those
    of hidden, weight and bias, where they are asked for; a second derivative is refused. It works under autocast,
    inside ``torch.func.grad`` and under ``vmap``. Half precision is summed in float32.

    Args:
        hidden: (..., D), floating point; (B, T, D) for the shift.
        weight: (V, D), the head, of the same dtype; may be an embedding's (tied).
        target: (...) class indices of any integer dtype, or (..., V) probabilities.
        bias: (V,), or None.
        ignore_index: The index that does not count, or None. On a CPU such rows cost nothing.
        label_smoothing: 0 to 1.
        class_weight: (V,) numbers >= 0, or None for 1.
        z_loss: >= 0, the coefficient of the squared log-normaliser.
        softcap: :math:`c` > 0: logits count as :math:`c \tanh(o / c)`.
        shift: Compare position t with the target at t + 1, once, and count accordingly.
        reduction: ``"mean"`` divides by the weight, 0 where nothing counts (torch: NaN); ``"sum"``; ``"none"`` returns
            the shape of the positions, 0 where one does not count.

    Raises:
        ValueError: shapes that do not fit, an option out of range.
        TypeError: dtypes that differ.
        RuntimeError: from the backward pass: a second derivative.

    Source: E. Wijmans et al., Cut your losses in large-vocabulary language models, ICLR 2025, for the idea of never
    making the logits; the gradients are made in the forward pass as in P.-L. Hsu et al., Liger kernel,
    arXiv:2410.10989, section 3.2.

    >>> hidden, head = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True), torch.eye(2)
    >>> loss = linear_cross_entropy(hidden, head, torch.tensor([0, 1]))
    >>> loss.backward()
    >>> round(loss.item(), 4), hidden.grad
    (0.41, tensor([[-0.0596,  0.0596],
            [ 0.2500, -0.2500]]))
    """
    loss = TokenCrossEntropy(
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        class_weight=class_weight,  # type: ignore[arg-type]  # a tensor is read as numbers
        z_loss=z_loss,
        softcap=softcap,
        shift=shift,
    )
    return _reduced(loss, Projected(hidden, weight, bias), target, reduction)


def linear_focal(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
    ignore_index: int | None = -100,
    class_weight: ClassWeight = None,
    softcap: float | None = None,
    shift: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Focal loss of ``hidden @ weight.T + bias``, without those logits in memory: see ``Focal``.

    Args:
        hidden: (..., D).
        weight: (V, D).
        target: (...) class indices.
        bias: (V,), or None.
        gamma: see ``Focal``.
        alpha: see ``Focal``.
        ignore_index: see ``linear_cross_entropy``, as all that follow.
        class_weight: (V,), or None.
        softcap: > 0, or None.
        shift: compare position t with the target at t + 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: shapes that do not fit, an option out of range.
        TypeError: dtypes that differ.

    >>> hidden = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> linear_focal(hidden, torch.eye(2), torch.tensor([0, 1]), reduction="none")
    tensor([0.0018, 0.1733])
    """
    loss = Focal(
        gamma=gamma,
        alpha=alpha,
        ignore_index=ignore_index,
        class_weight=class_weight,  # type: ignore[arg-type]  # a tensor is read as numbers
        softcap=softcap,
        shift=shift,
    )
    return _reduced(loss, Projected(hidden, weight, bias), target, reduction)


def linear_distillation(
    hidden: Tensor,
    weight: Tensor,
    teacher: Tensor | Projected,
    target: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    temperature: float = 1.0,
    hard_weight: float = 0.0,
    log_target: bool = False,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    class_weight: ClassWeight = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    shift: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Distillation into ``hidden @ weight.T + bias``, without those logits in memory: see ``Distillation``.

    Args:
        hidden: (..., D).
        weight: (V, D).
        teacher: (..., V) logits or, with ``log_target``, log-probabilities; or a ``Projected``, whose logits are made
            a chunk at a time as well.
        target: (...) class indices; None where ``hard_weight`` is 0 and every position counts.
        bias: (V,), or None.
        temperature: see ``Distillation``.
        hard_weight: see ``Distillation``.
        log_target: see ``Distillation``.
        ignore_index: see ``linear_cross_entropy``, as all that follow.
        label_smoothing: of the hard loss.
        class_weight: (V,), or None.
        z_loss: of the hard loss.
        softcap: > 0, or None.
        shift: the labels belong to the position before.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: shapes that do not fit, an option out of range, labels that are missing.
        TypeError: dtypes that differ.

    >>> hidden = torch.tensor([[2.0, 0.0]])
    >>> linear_distillation(hidden, torch.eye(2), torch.tensor([[0.0, 1.0]]))
    tensor(1.0068)
    """
    loss = Distillation(
        temperature=temperature,
        hard_weight=hard_weight,
        log_target=log_target,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        class_weight=class_weight,  # type: ignore[arg-type]  # a tensor is read as numbers
        z_loss=z_loss,
        softcap=softcap,
        shift=shift,
    )
    return _reduced(loss, Projected(hidden, weight, bias), (target, teacher), reduction)


def _reduced(loss: TokenLoss, output: Projected, target: Any, reduction: Reduction) -> Tensor:
    who = type(loss).__name__
    if reduction not in ("mean", "sum", "none"):
        raise unknown_name(who, "reduction", reduction, ("mean", "sum", "none"))
    check_head(who, output, "head")
    if reduction == "none":
        return loss.per_position(output, target)
    total, weight = loss(output, target)
    if reduction == "sum":
        return total
    if isinstance(weight, int):
        return total / max(weight, 1)
    weight = weight.to(total.dtype)
    return total / torch.where(weight == 0, 1.0, weight)
