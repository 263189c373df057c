"""Adafactor with relative steps: no rate to choose, and hardly any memory."""

from __future__ import annotations

from thalweg import loss, optim

from .preset import Preset

__all__ = ["adafactor"]


def adafactor(warmup_init: bool = False, label_smoothing: float = 0.1) -> Preset:
    r"""Return the settings of Adafactor that owns its rate, :math:`\operatorname{RMS}(w) \min(10^{-2}, 1/\sqrt t)`.

    Args:
        warmup_init: begin with :math:`10^{-6} t` instead of :math:`10^{-2}`; that is a rule without a rate, which the
            TOML of a recipe has no word for.
        label_smoothing: 0 to 1.

    Raises:
        ValueError: a number out of range.

    >>> preset = adafactor()
    >>> preset.optimizer.lr, preset.optimizer.relative_step, preset.schedule
    (0.01, True, None)
    """
    return Preset(
        name="adafactor",
        source=(
            "N. Shazeer and M. Stern, Adafactor, ICML 2018, section 9; the same as Hugging Face's Adafactor with "
            "scale_parameter=True, relative_step=True, lr=None"
        ),
        optimizer=optim.Adafactor(
            lr=None if warmup_init else 1e-2,
            eps=(1e-30, 1e-3),
            scale_parameter=True,
            relative_step=True,
            warmup_init=warmup_init,
            form="paper",
        ),
        schedule=None,
        loss=loss.make("token_cross_entropy", label_smoothing=label_smoothing),
    )
