"""Training an encoder–decoder from scratch."""

from __future__ import annotations

from typing import Any

from thalweg import loss, optim
from thalweg.schedule import InverseSqrt, Warmup

from .preset import Preset

__all__ = ["translation"]


def translation(lr: float = 7e-4, warmup: Any = 4000, label_smoothing: float = 0.1) -> Preset:
    r"""Return the settings of the first transformers: Adam under a rate that falls as :math:`1/\sqrt t`.

    Args:
        lr: the highest rate; :math:`(D \cdot \text{warmup})^{-1/2}` in the paper, 7e-4 for D = 512.
        warmup: updates until it is reached.
        label_smoothing: 0 to 1.

    Raises:
        ValueError: a number out of range.

    >>> translation().optimizer.betas, round((512 * 4000) ** -0.5, 4)
    ((0.9, 0.98), 0.0007)
    """
    return Preset(
        name="translation",
        source="A. Vaswani et al., Attention is all you need, NeurIPS 2017, sections 5.3 and 5.4",
        optimizer=optim.Adam(lr=lr, betas=(0.9, 0.98), eps=1e-9),
        schedule=Warmup(warmup) >> InverseSqrt(warmup),
        loss=loss.make("token_cross_entropy", label_smoothing=label_smoothing),
    )
