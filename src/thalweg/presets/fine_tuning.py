"""Fine-tuning a trained language model."""

from __future__ import annotations

from typing import Any

from thalweg import loss, optim
from thalweg.schedule import Linear, Warmup

from .preset import Preset

__all__ = ["fine_tuning"]


def fine_tuning(
    lr: float = 5e-5, weight_decay: float = 0.01, warmup: Any = "5%", label_smoothing: float = 0.1
) -> Preset:
    """Return the settings for fine-tuning: AdamW at a small rate, a short linear warm-up, a line down to zero.

    Args:
        lr: 2e-5 to 1e-4.
        weight_decay: 0.01 to 0.1.
        warmup: updates, or a share of the run: ``"5%"`` is 500 in 10,000.
        label_smoothing: 0 to 1.

    Raises:
        ValueError: a number out of range.

    >>> fine_tuning().optimizer
    AdamW(lr=5e-05, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, maximize=False)
    """
    return Preset(
        name="fine-tuning",
        source=(
            "rates, betas and decay: J. Devlin et al., BERT, NAACL 2019, appendix A.2 and A.3; 5e-5 and eps 1e-8 are "
            "the defaults of Hugging Face's TrainingArguments; smoothing 0.1: A. Vaswani et al., 2017, section 5.4"
        ),
        optimizer=optim.AdamW(lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay),
        schedule=Warmup(warmup) >> Linear(),
        loss=loss.make("token_cross_entropy", label_smoothing=label_smoothing),
        clip_norm=1.0,
    )
