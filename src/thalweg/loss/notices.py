"""A softmax or a sigmoid that is already inside the model, noticed before the loss applies it once more.

The loss of ``softmax(softmax(x))`` still falls, only slowly and never far, so nobody finds out by looking at it.
"""

from __future__ import annotations

import warnings

from torch import Tensor

__all__ = ["ends_in_sigmoid", "looks_like_probabilities", "notice_probabilities", "notice_sigmoid"]

# autograd nodes that move values without changing them
_VIEWS = ("View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Select", "Transpose", "Permute", "ToCopy")


def looks_like_probabilities(output: Tensor) -> bool:
    """Return whether every row is non-negative and sums to 1 over dim 1, as only a softmax makes it.

    Args:
        output: (B, C, ...); looks at the values.

    >>> import torch
    >>> looks_like_probabilities(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    True
    >>> looks_like_probabilities(torch.tensor([[0.25, 0.75], [0.5, -0.5]]))
    False
    """
    if output.dim() < 2 or output.shape[1] < 2 or not output.numel():
        return False
    values = output.detach().float()
    # each of C half-precision numbers may be off by 2^-9 of itself, so their sum by no more than that
    sums = values.sum(1)
    return bool((values >= 0).all() & ((sums - 1).abs() < 4e-3).all())


def ends_in_sigmoid(output: Tensor) -> bool:
    """Return whether the last operation of the model was a sigmoid, read from autograd's graph.

    Values alone cannot tell: the logits of an untrained model may all lie within [0, 1]. Without a graph: False.

    >>> import torch
    >>> x = torch.zeros(3, 1, requires_grad=True)
    >>> ends_in_sigmoid(x.sigmoid().squeeze(1)), ends_in_sigmoid(x * 2)
    (True, False)
    """
    node = output.grad_fn
    while node is not None and any(node.name().startswith(view) for view in _VIEWS):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("Sigmoid")


def notice_probabilities(who: str, output: Tensor) -> None:
    """Warn where *output* is a softmax's: *who* would apply another."""
    if looks_like_probabilities(output):
        warnings.warn(
            f"{who}: every row of the output is non-negative and sums to 1, so the model seems to end in a softmax, "
            f"and {who} applies one itself (gradients become small and the loss cannot reach 0); return the logits, "
            "and predict() will give probabilities. For a model that must keep it: return the log of its "
            "probabilities.",
            UserWarning,
            stacklevel=3,
        )


def notice_sigmoid(who: str, output: Tensor) -> None:
    """Warn where *output* is a sigmoid's: *who* would apply another."""
    if ends_in_sigmoid(output):
        warnings.warn(
            f"{who}: the model ends in a sigmoid, and {who} applies one itself (gradients become small and predictions "
            f"stay within 0.5 to 0.73); return the logits, and predict() will give probabilities.",
            UserWarning,
            stacklevel=3,
        )
