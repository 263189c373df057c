"""Whether model, data, loss and metrics fit together, found out without training."""

from __future__ import annotations

from thalweg import data as datas
from thalweg.learner import Learner
from thalweg.loop import Plan, Precision, prepare_loss

from .parts import Parts
from .recipe import Recipe

__all__ = ["check_fit"]


def check_fit(recipe: Recipe, learner: Learner, data: Parts) -> Plan:
    """Return the plan, or raise what ``fit`` would raise before its first step; nothing random is consumed.

    Args:
        recipe: with the settings of ``fit``.
        learner: with its model, loss and metrics.
        data: the parts; metrics are looked at where there is validation.

    Raises:
        TypeError, ValueError: shapes, dtypes or values that do not fit; an unknown metric; a schedule that cannot
            complete.
    """
    train, precision = recipe.train, Precision(learner.precision, learner.device)
    for part in (data.train, data.valid):
        if part is not None:
            source = datas.source(part, batch_size=train.batch_size, shuffle=False, device=learner.device)
            loss, output, target = prepare_loss(learner.loss, learner.module, source, precision)
    if data.valid is not None:
        learner.make_metrics(output, target, loss)
    return learner.plan(data.train, **recipe.plan_arguments())
