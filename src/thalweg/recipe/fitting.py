"""Whether model, data, loss and metrics fit together, found out without training."""

from __future__ import annotations

from thalweg import data as datas
from thalweg.learner import Learner
from thalweg.learner.checks import prepare_loss
from thalweg.loop import Precision

from .parts import Parts

__all__ = ["check_fit"]


def check_fit(learner: Learner, data: Parts, batch_size: int = 64) -> None:
    """Raise what ``fit`` would raise before its first step; nothing random is consumed.

    Args:
        learner: with its model, loss and metrics.
        data: the parts; metrics are looked at where there is validation.
        batch_size: rows of the batch that is looked at.

    Raises:
        TypeError, ValueError: shapes, dtypes or values that do not fit; an unknown metric.
    """
    precision = Precision(learner.precision, learner.device)
    for part in (data.train, data.valid):
        if part is not None:
            source = datas.source(part, batch_size=batch_size, shuffle=False, device=learner.device)
            _, output, target = prepare_loss(learner.loss, learner.module, source, precision)
    if data.valid is not None:
        learner.make_metrics(output, target)
