"""Training a language model from scratch."""

from __future__ import annotations

from typing import Any

from thalweg import loss, optim
from thalweg.schedule import Cosine, Warmup

from .preset import Preset

__all__ = ["pretraining"]


def pretraining(
    lr: float = 6e-4, weight_decay: float = 0.1, warmup: Any = "1%", end: float = 0.1, z_loss: float = 0.0
) -> Preset:
    """Return the settings for pre-training: AdamW with a short memory, a cosine down to a tenth of the rate.

    Args:
        lr: 6e-4 for about 125 million parameters; less for more (2e-4 for 1.3 billion).
        weight_decay: decoupled decay.
        warmup: updates, or a share of the run.
        end: the last rate, as a share of the highest.
        z_loss: weight of the squared log-partition, 0 or about 1e-4.

    Raises:
        ValueError: a number out of range.

    >>> pretraining().optimizer.betas
    (0.9, 0.95)
    """
    return Preset(
        name="pretraining",
        source=(
            "T. Brown et al., Language models are few-shot learners, NeurIPS 2020, table 2.1 and appendix B; "
            "z-loss 1e-4: A. Chowdhery et al., PaLM, 2022, section 5"
        ),
        optimizer=optim.AdamW(lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay),
        schedule=Warmup(warmup) >> Cosine(eta_min=lr * end),
        loss=loss.make("token_cross_entropy", z_loss=z_loss),
        clip_norm=1.0,
    )
